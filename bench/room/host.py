"""Hosts: network namespaces with a cable to the lab's, from which its addresses on loopback are reached.

Theory of operation. The lab takes loopback addresses only. In a host's namespace a rule sends what goes to one of the lab's
ports on 127.0.0.1 over a pair of interfaces, and `route_localnet` has both ends take such packets for good; everything else on
127.0.0.1 is the host's own. A host has a default route, so that prx sees a network.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

_TABLE: Final = "50"
_KINDS: Final = ("tcp", "udp")
_SYSTEM: Final = Path("/proc/sys/net/ipv4/conf")
_TAKE_LOOPBACK: Final = {"route_localnet": "1", "rp_filter": "0", "accept_local": "1"}


class Host:
    """One host; `inside` are the words that run a command in it."""

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        self.inside = ("nsenter", f"--target={pid}", "--net", "--")
        self._pid = pid

    async def connect(self, ports: Iterable[int]) -> None:
        """Lay the cable, and lead `ports` of 127.0.0.1 to the other end."""
        here, there = f"10.77.{self.number}.1", f"10.77.{self.number}.2"
        await _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "out0", "netns", str(self._pid))
        await _run("ip", "address", "add", f"{here}/24", "dev", self._cable)
        await _run("ip", "link", "set", self._cable, "up")
        _take_loopback(self._cable)
        lines = [
            "ip link set lo up",
            f"ip address add {there}/24 dev out0",
            "ip link set out0 up",
            f"ip route add default via {here}",
            f"ip route add default via {here} dev out0 table {_TABLE}",
            *(f"echo {value} >{_SYSTEM}/{on}/{key}" for on in ("all", "out0") for key, value in _TAKE_LOOPBACK.items()),
            "ip rule add pref 100 lookup local",
            "ip rule del pref 0",
            # a resolver that never answers would delay each start of cloudflared by 30 s
            *(f"ip rule add pref 5 dport {port} unreachable" for port in (53, 853)),
        ]
        await _run(*self.inside, "sh", "-ec", "\n".join(lines))
        await self.lead(*ports)

    async def lead(self, *ports: int) -> None:
        """Lead more ports of 127.0.0.1 to the other end."""
        rule = f"ip rule add pref 10 to 127.0.0.1 lookup {_TABLE}"
        lines = [f"{rule} ipproto {kind} dport {port}" for port in ports for kind in _KINDS]
        await _run(*self.inside, "sh", "-ec", "\n".join(lines))

    async def cut(self) -> None:
        """Pull the cable out at the lab's end: silence for both sides."""
        await _run("ip", "link", "set", self._cable, "down")

    async def mend(self) -> None:
        """Plug it in again."""
        await _run("ip", "link", "set", self._cable, "up")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the host."""
        mine = _network_of(self._pid)
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and _network_of(entry.name) == mine:
                    os.kill(int(entry.name), number)
            except OSError:  # it has ended meanwhile
                continue

    @property
    def _cable(self) -> str:
        return f"host{self.number}"


@asynccontextmanager
async def running_host(number: int) -> AsyncIterator[Host]:
    """Run a host without a network for the length of a block."""
    holder = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "infinity")
    try:
        while _network_of(holder.pid) == _network_of("self"):  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.01)
        yield Host(number, holder.pid)
    finally:
        holder.kill()
        await holder.wait()


def _network_of(process: int | str) -> str:
    return os.readlink(f"/proc/{process}/ns/net")  # noqa: PTH115 - the text of the link, not a path


async def prepare_here() -> None:
    """Set loopback up in this namespace, that of the lab, and have it take packets for it from outside."""
    await _run("ip", "link", "set", "lo", "up")
    _take_loopback("all")


def _take_loopback(interface: str) -> None:
    for key, value in _TAKE_LOOPBACK.items():
        (_SYSTEM / interface / key).write_text(value)


async def _run(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: {said.decode(errors='replace').strip()}")
