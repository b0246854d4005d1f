"""The metrics ports that the configuration fixes, and which of them the children of this prx have just now.

Two connectors cannot have one port at once, and a connector that is replaced without a gap lives beside its successor; so does
one whose token, or whose port, has gone to another tunnel. The new one answers on another port then, and gives way to one with
the fixed port once that is free (`prx.runtime.outdated`). A tunnel whose connectors take turns waits for its port.
"""

from __future__ import annotations

import asyncio


class FixedPorts:
    """The ports that are held; 0 is none, and is never held."""

    def __init__(self) -> None:
        self._held: dict[int, asyncio.Event] = {}

    def is_held(self, port: int) -> bool:
        """Return whether a child has the port."""
        return port in self._held

    def take(self, port: int) -> bool:
        """Take the port for a child that is about to start; return False if another has it."""
        if not port or port in self._held:
            return False
        self._held[port] = asyncio.Event()
        return True

    def free(self, port: int) -> None:
        """Take in that the child that had the port has ended."""
        self._held.pop(port).set()

    async def until_free(self, port: int) -> None:
        """Wait until no child has the port."""
        while (held := self._held.get(port)) is not None:
            await held.wait()
