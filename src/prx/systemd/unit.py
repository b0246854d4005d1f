"""The unit file of prx, as text.

Theory of operation. prx reports to systemd when it is ready and feeds the watchdog (`prx.runtime.host.sd_notify`), so
Type=notify. Exit codes 2 and 3 mean that starting again will not help; everything else is started again. On a stop prx alone
gets SIGTERM (KillMode=mixed) and stops its child gracefully; TimeoutStopSec= lies above the longest grace period that a
configuration can ask for.

A system service runs as a user that exists only while it runs (DynamicUser=), sees no home directory, may write only to its own
state directory, and gets its tokens as credentials. A user service cannot have what needs mount namespaces or capabilities; it
gets all that a seccomp filter can do. The filters were tried with cloudflared 2026.8.2 and with the builtin connector: neither
needs memory that is both writable and executable, and setpriv, which ties the child's life to that of prx, needs capset.
Type=notify-reload (since 253) is not used, though prx speaks it: systemd then reloads with a signal, which cannot say that a
configuration was refused; `prx reload` can, and `systemctl reload` fails with it.
PrivateUsers= is left out: under it prx could not separate root, who may ask for its status, from others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from prx import __version__

MARK: Final = "# Written by `prx service install`"
STATE: Final = Path("/var/lib/private/prx")  # where StateDirectory=prx lies with DynamicUser=; /var/lib/prx links to it
# Longer than the longest grace period (180 s, prx.config.schema) and the margin that the machine adds to it.
STOP_SECONDS: Final = 200
OLDEST: Final = 252  # the version of systemd that every unit is written for
DEBUG_SINCE: Final = 257  # RestartMode=debug: a start after a failure has DEBUG_INVOCATION=1, and prx logs at `debug`


class Scope(StrEnum):
    """Whose service manager runs it."""

    SYSTEM = "system"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit file is made from.

    program: absolute command that runs prx, without arguments. config: absolute. credentials: file by name. environment:
    variables that the service gets. systemd: the version that will read it; an older one objects to what it does not know.
    """

    scope: Scope
    program: Sequence[str]
    config: Path
    credentials: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    systemd: int = OLDEST


Lines = Iterable[str]

_SERVICE: Final = f"""\
KillMode=mixed
TimeoutStartSec=90
TimeoutStopSec={STOP_SECONDS}
WatchdogSec=60
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 3
"""

# What works for every machine: seccomp filters, limits and masks.
_FILTERS: Final = """\
UMask=0077
LimitCORE=0
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallFilter=capset
"""

_WALLS: Final = """\
DynamicUser=yes
StateDirectory=prx
StateDirectoryMode=0700
AmbientCapabilities=
CapabilityBoundingSet=
DevicePolicy=closed
KeyringMode=private
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
"""


def render(unit: Unit) -> str:
    """Return the text of the unit file."""
    return "\n".join([*_head(), *_service(unit), *_sandbox(unit.scope), *_install(unit.scope)]) + "\n"


def _head() -> Lines:
    yield f"{MARK} (prx {__version__}), which replaces it. Your own changes: systemctl edit prx"
    yield "[Unit]"
    yield "Description=prx puts a local service on the Internet through Cloudflare Tunnel"
    yield "After=network.target"
    yield "StartLimitIntervalSec=0"  # RestartSec= is enough: a unit that waits for the network must not be given up
    yield ""


def _service(unit: Unit) -> Lines:
    yield "[Service]"
    yield "Type=notify"
    yield "NotifyAccess=main"
    yield f"ExecStart={_command(unit, 'start')}"
    yield f"ExecReload={_command(unit, 'reload')}"
    yield from _SERVICE.splitlines()
    if unit.systemd >= DEBUG_SINCE:
        yield "RestartMode=debug"
    environment = dict(unit.environment)
    if unit.scope is Scope.SYSTEM:
        environment["PRX_DATA_DIR"] = str(STATE)
    for name, value in environment.items():
        yield f"Environment={quote(f'{name}={value}', always=True)}"
    for name, path in unit.credentials.items():
        yield f"LoadCredential={quote(f'{name}:{path}')}"
    yield ""


def _sandbox(scope: Scope) -> Lines:
    yield "# What it may do"
    if scope is Scope.SYSTEM:
        yield from _WALLS.splitlines()
    yield from _FILTERS.splitlines()
    yield ""


def _install(scope: Scope) -> Lines:
    yield "[Install]"
    yield "WantedBy=multi-user.target" if scope is Scope.SYSTEM else "WantedBy=default.target"


def _command(unit: Unit, name: str) -> str:
    words = [*unit.program, name, "-c", str(unit.config)]
    return " ".join(quote(word).replace("$", "$$") for word in words)


def quote(word: str, *, always: bool = False) -> str:
    """Write one word so that systemd reads exactly this: specifiers doubled, quoted if it must be (systemd.syntax(7))."""
    text = word.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"').replace("\n", "\\n")
    plain = not always and text == word.replace("%", "%%") and not any(letter.isspace() or letter in "';" for letter in word)
    return text if plain and word else f'"{text}"'
