"""A network and a process table of a scene's own, and what can be cut in them.

Theory of operation. `wrapped(argv)` gives the command that runs `argv` in new namespaces (unshare(1)): when it dies, the kernel
ends everything in it. Inside, `Network.prepare` sets up loopback, a pair of interfaces that stands for the way out (a default
route, so that prx sees a network), and puts the table of local routes behind a gap for rules. A cut is an `ip rule` for a port:

    refuse   the port cannot be reached: an error at once for who dials, silence for who is connected
    silent   what the port's owner says is dropped: silence for both

Visitors and the bench itself come from `OUTSIDE`, whose packets pass all cuts: they stand for the rest of the world.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Final, Literal

OUTSIDE: Final = "127.0.0.9"
INTERFACE: Final = "out0"
_ROOT: Final = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount")
_USER: Final = ("unshare", "--user", "--map-root-user", *_ROOT[1:])
_SETTLE: Final = 'mount -t sysfs none /sys && exec "$0" "$@"'  # the interfaces of the new namespace stand in a new /sys
_FIRST_RULE: Final = 30

Way = Literal["refuse", "silent"]
Protocols = Literal["tcp", "udp", "both"]


def command_prefix() -> list[str]:
    """Return the words that run a command in namespaces of its own; none if this machine does not allow it."""
    if sys.platform != "linux":
        return []
    for words in (_ROOT, _USER):
        prefix = [*words, "sh", "-c", _SETTLE]
        probe = [*prefix, sys.executable, "-c", "from bench.room.namespace import Network; Network().prepare()"]
        try:
            if subprocess.run(probe, capture_output=True, check=False, timeout=30).returncode == 0:
                return prefix
        except (OSError, subprocess.TimeoutExpired):
            continue
    return []


class Network:
    """The network of this namespace."""

    def __init__(self) -> None:
        self._cuts: dict[str, list[list[str]]] = {}

    def prepare(self) -> None:
        """Make a way out, and a gap for rules in front of the local table."""
        _ip("link", "set", "lo", "up")
        _ip("link", "add", INTERFACE, "type", "veth", "peer", "name", "world0")
        _ip("address", "add", "10.77.0.2/24", "dev", INTERFACE)
        self.link(up=True)
        _ip("rule", "add", "pref", "100", "lookup", "local")
        _ip("rule", "del", "pref", "0")
        for pref, which in ((10, "from"), (11, "to")):
            _ip("rule", "add", "pref", str(pref), which, OUTSIDE, "lookup", "local")
        for pref, port in ((12, 53), (13, 853)):  # a resolver that never answers would delay each start of cloudflared by 30 s
            _ip("rule", "add", "pref", str(pref), "dport", str(port), "unreachable")

    def link(self, *, up: bool) -> None:
        """Remove the way out, or restore it with its default route."""
        for name in ("world0", INTERFACE):
            _ip("link", "set", name, "up" if up else "down")
        if up:
            _ip("route", "add", "default", "via", "10.77.0.1")

    def cut(self, name: str, ports: Iterable[int], *, protocols: Protocols = "both", way: Way = "refuse") -> None:
        """Cut ports off for everyone but the outside, until `mend(name)`."""
        rules = self._cuts.setdefault(name, [])
        for port in ports:
            for protocol in ("tcp", "udp") if protocols == "both" else (protocols,):
                for side in ("sport",) if way == "silent" else ("dport", "sport"):
                    words = ["pref", str(self._free()), "ipproto", protocol, side, str(port), "unreachable"]
                    _ip("rule", "add", *words)
                    rules.append(words)

    def mend(self, name: str) -> None:
        """Undo a cut, if there is one of that name."""
        for words in self._cuts.pop(name, ()):
            _ip("rule", "del", *words)

    def _free(self) -> int:
        taken = {int(words[1]) for rules in self._cuts.values() for words in rules}
        return next(number for number in range(_FIRST_RULE, 100) if number not in taken)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def ports_of(addresses: Sequence[str]) -> list[int]:
    """Return the ports of HOST:PORT addresses."""
    return [int(address.rpartition(":")[2]) for address in addresses]
