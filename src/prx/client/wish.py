"""What a program asks for when it opens a tunnel: the command line of prx, and which running prx would do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prx.app.options import WISHES, words_of
from prx.config.checks import mail_rule
from prx.config.local_addr import LocalAddr
from prx.config.paths import config_file, runtime_dir
from prx.control.instance import Instance, instance_key
from prx.core.errors import UsageError, unknown_tunnel

_KEEP_LIMIT = 3600.0  # seconds, as the control socket takes


@dataclass(frozen=True, slots=True)
class Wish:
    """A tunnel that is wanted; made by `understand`. `settings`: flags of `prx start` with their values."""

    local_addr: str = ""
    config: Path | None = None
    name: str | None = None
    hello: bool = False
    lab: bool | str = False
    settings: Mapping[str, str | bool | tuple[str, ...]] = field(default_factory=dict)
    keep: float = 0.0
    also: tuple[int, ...] = ()

    @property
    def words(self) -> list[str]:
        """Return the arguments of `prx start`."""
        words = ["--hello"] if self.hello else []
        words += ["--lab"] if self.lab else []
        words += [f"--lab-control={self.lab}"] if isinstance(self.lab, str) and self.lab else []
        words += [f"--config={self.config}"] if self.config else []
        for flag, given in self.settings.items():
            words += words_of(flag, given)
        return [*words, self.local_addr] if self.local_addr else words

    @property
    def instance(self) -> Instance:
        """Return the files of the prx that serves this, as `prx.app.session` names them."""
        path = config_file(self.config)
        given = "hello" if self.hello else self.local_addr
        if path is None and not given:
            given = _default_addr()
        return Instance(runtime_dir(), instance_key(path, given))

    def check(self, about: Mapping[str, Any]) -> str:
        """Return the tunnel of the running prx `about` that is meant; raise UsageError if that prx runs with other settings."""
        names = [str(item["name"]) for item in about["tunnels"]]
        pid = about["pid"]
        if bool(self.lab) != about.get("lab", False):
            here, there = ("a lab", "the public edge") if self.lab else ("the public edge", "a lab")
            raise UsageError(f"prx (pid {pid}) serves this with {there}, expected {here}", hint="`prx stop` ends it")
        asked = about.get("asked", {})
        for flag, value in self.settings.items():
            found = asked.get(WISHES[flag])
            if found != (value if isinstance(value, str | bool) else list(value)):
                there, here = _worded(flag, found), _worded(flag, value)
                raise UsageError(f"prx (pid {pid}) serves this {there}, expected {here}", hint="`prx stop` ends it")
        if self.name is None and len(names) == 1:
            return names[0]
        if self.name is None:
            raise UsageError("several tunnels are configured", hint=f"name=…, one of: {', '.join(names)}")
        if self.name not in names:
            raise unknown_tunnel(self.name, names)
        return str(self.name)


def understand(
    target: int | str | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    name: str | None = None,
    hello: bool = False,
    lab: bool | str | None = False,
    allow: str | Sequence[str] = (),
    health_path: str = "",
    expect: str = "",
    host_header: str = "",
    inspect: bool = False,
    keep: float = 0.0,
    also: tuple[int, ...] = (),
) -> Wish:
    """Return the wish; raise UsageError, which names the argument, what was found and what is expected."""
    if hello and target is not None:
        raise UsageError("hello is the local service itself", hint="leave out the address, or hello")
    seconds("keep", keep, _KEEP_LIMIT)
    for argument, flag in (("hello", hello), ("inspect", inspect)):
        if not isinstance(flag, bool):
            raise UsageError(f"{argument}: found {flag!r}, expected True or False")
    if not isinstance(lab, bool | None):
        text("lab", lab, "True, False, or a lab's control URL")
    if name is not None:
        text("name", name, "the name of a tunnel")
    for argument, words in (("health_path", health_path), ("expect", expect), ("host_header", host_header)):
        text(argument, words, "text")
    given: dict[str, str | bool | tuple[str, ...]] = {"health_path": health_path, "expect": expect, "host_header": host_header}
    given |= {"inspect": inspect, "allow": _guests(allow)}
    settings = {flag: value for flag, value in given.items() if value}
    path = None if config is None else _file(config)
    return Wish(_local_addr(target), path, name, hello, lab or False, settings, float(keep), also)


def seconds(argument: str, value: float, limit: float) -> float:
    """Return a number of seconds from 0 to `limit`; raise UsageError, which names the argument, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= limit:
        raise UsageError(f"{argument}: found {value!r}, expected seconds from 0 to {limit:g}")
    return float(value)


def text(argument: str, value: object, expected: str) -> None:
    """Refuse what is no text, or has a zero byte, which no command line can carry."""
    if not isinstance(value, str) or "\0" in value:
        raise UsageError(f"{argument}: found {value!r}, expected {expected}")


def _file(config: str | os.PathLike[str]) -> Path:
    found = os.fspath(config) if isinstance(config, os.PathLike) else config
    text("config", found, "the path of a configuration file")
    if not found or os.path.isdir(found):  # noqa: PTH112 - Path("") is the current folder
        raise UsageError(f"config: found {found!r}, expected the path of a configuration file")
    return Path(found)


def _worded(flag: str, value: object) -> str:
    """Return a setting as the argument that asks for it: "with allow='me@example.com'", "without allow"."""
    if not value:
        return f"without {flag}"
    if isinstance(value, tuple | list):
        value = value[0] if len(value) == 1 else list(value)
    return f"with {flag}={value!r}"


def _local_addr(target: int | str | None) -> str:
    if target is None:
        return ""
    try:
        return str(LocalAddr.parse(str(target)))
    except ValueError as error:
        raise UsageError(f"{target!r} is not a local address: expected {error}", hint="prx.tunnel(8080)") from error


def _guests(allow: str | Sequence[str]) -> tuple[str, ...]:
    if not isinstance(allow, str | Sequence):
        raise UsageError(f"allow: found {allow!r}, expected mail addresses", hint='allow="you@example.com"')
    found = []
    for rule in [allow] if isinstance(allow, str) and allow else allow:
        text("allow", rule, "mail addresses")
        try:
            found.append(mail_rule(rule))
        except ValueError as error:
            raise UsageError(f"allow: found {rule!r}, expected {error}", hint='allow="you@example.com"') from error
    return tuple(found)


def _default_addr() -> str:
    from prx.config.schema import TunnelSettings  # noqa: PLC0415 - most callers name a port

    return _local_addr(os.environ.get("PRX_TUNNEL_LOCAL_ADDR") or TunnelSettings().local_addr)
