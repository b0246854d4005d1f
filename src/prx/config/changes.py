"""What is right at a start and wrong at a change: a setting that is not written any more falls back to its default.

A full disk, a copy half way, an editor that was killed: each leaves a shorter file, and often one that is sound TOML. At a
start its defaults are what the user asked for. If tunnels run, the same defaults would put another service on the Internet,
or a guarded one under a throw-away name. So a reload refuses a file that declares no tunnel if there were some, and the
silent loss of the few settings that say what is made public and for whom. To confirm such a change, the user writes the new
value out.

Not everything can be seen: a file that was cut between two tables is a sound file with fewer tunnels, as it is when a tunnel is
removed on purpose. A program that writes the file should write it under another name and rename it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from prx.config.load import Loaded
from prx.config.origins import DEFAULT
from prx.config.schema import DEFAULT_TUNNEL
from prx.core.errors import ConfigError

GUARDED: Final = (
    "local_addr",
    "backend",
    "public_url",
    "require_access",
    "cloudflare.mode",
    "cloudflare.allowed_mail",
    "gate.basic_auth",
    "gate.bearer",
    "gate.allow_ip",
)
"""The keys whose default makes something else public, or for other people."""


AT_THE_START: Final = (("history", "keep_days"), ("history", "keep_mb"), ("web", "probes"))
"""The keys that are read once, when prx starts."""


def require_no_loss(before: Loaded, after: Loaded) -> None:
    """Raise ConfigError if `after` lacks what `before`, which is in force, said in its file."""
    problems = list(_losses(before, after))
    if problems:
        raise ConfigError(problems, hint="if that is meant, write it out, or stop prx and start it again")


def counted_at_the_start(before: Loaded, after: Loaded) -> Iterator[str]:
    """Yield a line for each key whose new value has no effect before prx is started again."""
    for table, key in AT_THE_START:
        was, is_now = (getattr(getattr(loaded.config, table), key) for loaded in (before, after))
        if was != is_now:
            text = f"{is_now!r} counts from the next start of prx; until then {was!r} does"
            yield f"{after.path or 'the environment'}: {table}.{key}: {text}"


def _losses(before: Loaded, after: Loaded) -> Iterator[str]:
    if before.declares and not after.declares:
        place = after.path or before.path
        yield f"{place}: declares no tunnel, and some run that were declared; expected [tunnel] or [tunnels.NAME]"
        return
    for name in before.config.tunnels.keys() & after.config.tunnels.keys():
        for key in GUARDED:
            yield from _loss(before, after, name, key)


def _loss(before: Loaded, after: Loaded, tunnel: str, key: str) -> Iterator[str]:
    old, new = _table(before, tunnel), _table(after, tunnel)
    if before.origins[f"{old}.{key}"] == DEFAULT or after.origins[f"{new}.{key}"] != DEFAULT:
        return
    was, would_be = _value(before, tunnel, key), _value(after, tunnel, key)
    if was != would_be:
        text = f"found nothing, expected a value, as {was!r} is in force (the default is {would_be!r})"
        yield f"{after.path}: {new}.{key}: {text}"


def _table(loaded: Loaded, tunnel: str) -> str:
    return "tunnel" if tunnel == DEFAULT_TUNNEL and "tunnel.backend" in loaded.origins else f"tunnels.{tunnel}"


def _value(loaded: Loaded, tunnel: str, key: str) -> Any:
    value: Any = loaded.config.tunnels[tunnel]
    for part in key.split("."):
        value = getattr(value, part)
    return value
