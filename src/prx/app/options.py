"""What the user asks `prx start` for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from prx.core.value import Value, value_class

# Flags that stand for a key of the configuration: those of the one tunnel, or of all of a file.
WISHES = {
    "health_path": "tunnel.health_check_path",
    "expect": "tunnel.health_check_expect",
    "host_header": "tunnel.host_header",
    "basic_auth": "tunnel.gate.basic_auth",
    "bearer": "tunnel.gate.bearer",
    "allow_ip": "tunnel.gate.allow_ip",
    "catch": "tunnel.inspect.catch",
    "inspect": "tunnel.inspect.enabled",
    "allow": "tunnel.cloudflare.allowed_mail",
}


def words_of(flag: str, given: str | bool | Sequence[str]) -> list[str]:
    """Return the words of a command line that give `flag`, a name in WISHES, its value; none if there is none."""
    option = f"--{flag.replace('_', '-')}"
    if isinstance(given, bool):
        return [option] if given else []
    return [f"{option}={value}" for value in ((given,) if isinstance(given, str) else given) if value]


@value_class(frozen=True, slots=True, eq=False, repr=False)
class StartOptions(Value):
    """One command line, understood. `local_addr` is empty if the configuration says it; `ttl` is in seconds.

    `overrides`: values for other keys of the configuration, by dotted name such as `tunnel.health_check_path`.
    `lab_control`: the control URL of a running lab to join, instead of running one.
    `held`: end when no program uses this prx any more.
    `quiet`: nothing is shown, because no one is at the screen: the log has everything.
    `plain`: lines in place of the panel.
    `only`: the tunnels of the file that are wanted; empty: all. `name`: what the tunnel is called that no file
    declares; empty: its port.
    """

    local_addr: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    config: Path | None = None
    hello: bool = False
    lab: bool = False
    lab_control: str = ""
    as_json: bool = False
    ttl: float | None = None
    command: tuple[str, ...] = ()
    quiet: bool = False
    held: bool = False
    plain: bool = False
    only: tuple[str, ...] = ()
    name: str = ""
