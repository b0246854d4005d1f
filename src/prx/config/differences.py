"""What a reload has changed, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from prx.config.schema import Config


def differences(before: Config, after: Config) -> list[str]:
    """Return a line for each tunnel that is new, gone or changed, and for other settings: names of keys, never values."""
    lines = [f"{name}: new" for name in after.tunnels if name not in before.tunnels]
    lines += [f"{name}: gone" for name in before.tunnels if name not in after.tunnels]
    for name, settings in after.tunnels.items():
        if name in before.tunnels and (keys := list(_changed(before.tunnels[name], settings, ""))):
            lines.append(f"{name}: {', '.join(keys)}")
    return lines + [key for key in _changed(before, after, "") if key != "tunnels"]


def _changed(before: Any, after: Any, prefix: str) -> Iterator[str]:
    for field in fields(after):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old == new:
            continue
        if is_dataclass(new) and type(old) is type(new):
            yield from _changed(old, new, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"
