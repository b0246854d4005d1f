"""One wire of datagrams by itself, in virtual time: order, bounds, chance and counting."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

from prx.lab.edge.faults.active import ActiveFaults
from prx.lab.edge.faults.lanes import LinkFaults
from prx.lab.edge.faults.udp_wire import DatagramWire
from prx.lab.edge.task_group import ServerTaskGroup
from prx.lab.faults import Delay, DropAfter, Fault, Lose
from prx.lab.protocol.quic.session import Address, QuicSession
from prx.testing.clock import ManualClock

HERE = ("127.0.0.1", 1)
KB = 1024


class End:
    """A session and a port in one, which note what reaches them."""

    def __init__(self) -> None:
        self.port = self
        self.reasons: list[str] = []
        self.pace: object = None
        self.got: list[bytes] = []
        self.sent: list[bytes] = []

    def alter_frames(self, alter: object) -> None:
        """Take note of nothing."""

    def receive(self, datagram: bytes, address: Address) -> None:
        """Take a datagram that has passed the wire."""
        self.got.append(datagram)

    def flush(self) -> None:
        """Do nothing."""

    def send(self, datagrams: list[bytes], address: Address) -> None:
        """Take datagrams that the session has sent."""
        self.sent += datagrams

    def forsake(self, reason: str, *, tell: bool = False) -> None:
        """End."""
        self.reasons.append(reason)

    @property
    def closed(self) -> bool:
        """Return whether it has ended."""
        return bool(self.reasons)


@asynccontextmanager
async def wire(clock: ManualClock, *found: Fault, seed: int = 1) -> AsyncIterator[tuple[DatagramWire, End]]:
    """A wire on which these faults act, in virtual time."""
    faults = ActiveFaults(clock.monotonic)
    for fault in found:
        faults.add(fault)
    end = End()
    async with ServerTaskGroup() as group:

        def spawn(work: Coroutine[Any, Any, None], name: str) -> None:
            group.create_task(work, name=name)

        conditions = LinkFaults(faults, clock.monotonic, clock.sleep, random.Random(seed), spawn)
        yield DatagramWire(cast("QuicSession", end), 0, conditions), end


async def pass_time(clock: ManualClock, until: float) -> None:
    """Have every task act on the way to a time."""
    await asyncio.sleep(0)
    while clock.advance_to_next(until):
        for _ in range(3):
            await asyncio.sleep(0)


def numbered(count: int, size: int = 100) -> list[bytes]:
    """So many datagrams, each of them different."""
    return [number.to_bytes(4, "big").ljust(size, b".") for number in range(count)]


async def test_delay_keeps_the_order() -> None:
    """Each datagram arrives after its time and no later than jitter adds, none before an earlier one, both ways."""
    clock = ManualClock(0.0)
    packets = numbered(50)
    async with wire(clock, Delay(1.0, jitter=0.5)) as (between, end):
        for packet in packets:
            between.receive(packet, HERE)
            between.flush()
            between.send([packet], HERE)
        await pass_time(clock, 0.99)
        assert (end.got, end.sent) == ([], [])
        await pass_time(clock, 1.5)
        assert (end.got, end.sent) == (packets, packets)


async def test_what_waits_is_bounded() -> None:
    """What waits takes about a megabyte at most in each direction; the rest is lost, as in a router."""
    clock = ManualClock(0.0)
    packets = numbered(3000, 1000)
    async with wire(clock, Delay(1.0)) as (between, end):
        for packet in packets:
            between.receive(packet, HERE)
            between.flush()
            between.send([packet], HERE)
        await pass_time(clock, 1.0)
        assert end.got == end.sent == packets[: len(end.got)]
        assert KB * KB <= 1000 * len(end.got) <= KB * KB + 1000
        between.send(packets[-1:], HERE)
        await pass_time(clock, 2.0)
        assert end.sent[-1] == packets[-1]


async def test_loss_follows_the_seed() -> None:
    """About one datagram in `every` is lost in each direction, the same ones with the same seed; 1 loses them all."""
    packets = numbered(2000)
    runs = []
    for seed in (1, 1, 2):
        async with wire(ManualClock(), Lose(10), seed=seed) as (between, end):
            for packet in packets:
                between.receive(packet, HERE)
            between.flush()
            between.send(packets, HERE)
            runs.append((end.got, end.sent))
    assert runs[0] == runs[1] != runs[2]
    for kept in (*runs[0], *runs[2]):
        assert 1700 < len(kept) < 1900
    async with wire(ManualClock(), Lose(1)) as (between, end):
        between.send(packets, HERE)
        assert end.sent == []


async def test_bytes_count_in_both_directions() -> None:
    """`DropAfter` counts the bytes of datagrams both ways; the one that is too much does not pass, nor any after it."""
    async with wire(ManualClock(), DropAfter(bytes=1000)) as (between, end):
        between.receive(bytes(600), HERE)
        between.flush()
        between.send([bytes(400)], HERE)
        assert end.reasons == []
        between.send([bytes(1)], HERE)
        between.send([bytes(1)], HERE)
        assert end.reasons == ["dropped by a fault"]
        assert (len(end.got), len(end.sent)) == (1, 1)
