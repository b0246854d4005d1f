"""A way to a service through relays that hold, byte by byte, that what came in is what went out.

Of each connection everything is compared that was read on one side with everything that was handed to the other side's socket:
what a connector and a service write to each other is that, and TCP loses nothing in between.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.traffic.pieces import relaying

from prx.traffic.guard import GuardedRelay
from prx.traffic.pair import Pair, Side
from prx.traffic.relay import Target


class Flow:
    """One direction of a connection: how much of it came in and went out, and whether they are the same bytes so far."""

    def __init__(self) -> None:
        self.came = self.went = 0
        self._ahead = hashlib.sha256()
        self._behind = hashlib.sha256()

    def come(self, data: bytes) -> None:
        """Note what was read."""
        self.came += len(data)
        self._ahead.update(data)

    def go(self, data: bytes) -> None:
        """Note what was written on."""
        self.went += len(data)
        self._behind.update(data)

    @property
    def exact(self) -> bool:
        """Return whether everything that came went out, as it came."""
        return (self.came, self._ahead.digest()) == (self.went, self._behind.digest())


class _Writing:
    """A transport that notes what is written to it."""

    def __init__(self, transport: asyncio.Transport, flow: Flow) -> None:
        self._transport, self._flow = transport, flow

    def write(self, data: bytes) -> None:
        """Note it, and write it."""
        self._flow.go(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class ExactRelay(GuardedRelay):
    """A relay that notes what passes, on sides of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.flows: list[Flow] = []

    def pair(self) -> Pair:
        """Return what carries the next connection."""
        return _ExactPair(self)


class _ExactPair(Pair):
    relay: ExactRelay

    def __init__(self, relay: ExactRelay) -> None:
        super().__init__(relay)
        for side in (self.visitor, self.service):
            assert isinstance(side, _ExactSide)
            side.flow = Flow()
            relay.flows.append(side.flow)

    def _visitor(self) -> Side:
        return _ExactSide(self, 0)

    def _service(self) -> Side:
        return _ExactSide(self, 1)


class _ExactSide(Side):
    __slots__ = ("flow",)
    flow: Flow

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have what is written to this side noted: it came from the other one."""
        super().connection_made(transport)
        assert self.transport is not None
        assert isinstance(self.peer, _ExactSide)
        self.transport = _Writing(self.transport, self.peer.flow)  # type: ignore[assignment]  # it does what one does

    def buffer_updated(self, nbytes: int) -> None:
        """Note what was read, before the relay sees it."""
        self.flow.come(bytes(self.pair.relay.buffer[:nbytes]))
        super().buffer_updated(nbytes)


class Ways:
    """Relays to as many services as are led to by http and https; `local_addr` is nothing else."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._relays: dict[str, ExactRelay] = {}

    async def lead(self, url: str) -> str:
        """Return a URL that leads to the same service through a relay."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.hostname is None or parts.port is None:
            return url
        if url not in self._relays:
            target = Target(parts.hostname, parts.port)
            relay = await self._stack.enter_async_context(relaying(parts.port, keep=1000, target=target, kind=ExactRelay))
            assert isinstance(relay, ExactRelay)
            self._relays[url] = relay
        return f"{parts.scheme}://{parts.hostname}:{self._relays[url].port}"

    @property
    def relays(self) -> list[ExactRelay]:
        """Return the relays that were led through."""
        return list(self._relays.values())

    @property
    def carried(self) -> int:
        """Return how many bytes have passed."""
        return sum(flow.went for relay in self.relays for flow in relay.flows)

    def faults(self) -> list[str]:
        """Return what is not as promised, a line each."""
        found = []
        for url, relay in self._relays.items():
            relay.copier.read_all()
            found += [
                f"{url}: {flow.came} bytes came, {flow.went} went, not the same"
                for flow in relay.flows
                if not flow.exact and flow.went
            ]
            found += [f"{url}: {note}" for item in relay.copier.ring for note in item.notes if "could not be read" in note]
        return found


@asynccontextmanager
async def exact_ways() -> AsyncIterator[Ways]:
    """Yield a way through relays that are closed with the block."""
    async with AsyncExitStack() as stack:
        yield Ways(stack)
