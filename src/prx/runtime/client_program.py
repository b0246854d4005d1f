"""The program of a tunnel's client: its path, its version, and whether it was changed."""

from __future__ import annotations

import asyncio
import os

from prx.core.errors import PrxError
from prx.files.fingerprint import file_fingerprint, is_folder
from prx.files.search import which
from prx.install.programs import find_client
from prx.runtime.context import TunnelContext
from prx.runtime.process.version import ask_version
from prx.runtime.replaced import LastProgram


def find_program(context: TunnelContext) -> tuple[str, ...]:
    """Return the argv prefix that runs the client; one that is not there is named as the settings name it."""
    name, *arguments = context.client.program()
    return (find_client(name, context.shared.inherited) or name, *arguments)


Programs = dict[str, tuple[object, ...]]
"""What was seen of each program, by the name under which it is sought."""


class ClientProgram:
    """What was seen of the program of one connector; `before`: of the one whose place it takes."""

    def __init__(self, before: ClientProgram | None = None) -> None:
        self._seen: tuple[object, ...] | None = None  # None: not checked yet
        self._started: tuple[object, ...] = ()
        self._running: tuple[object, ...] = ()  # as it was reported last
        self._settling: tuple[object, ...] = ()  # at the last check of a running child
        self.last: LastProgram = LastProgram() if before is None else before.last
        self._asking: asyncio.Timeout | None = None  # while the program is asked for its version

    def about_to_start(self, context: TunnelContext) -> None:
        """Take note of the program as it is now: it is about to be started."""
        self._seen = _look(context)

    def started(self) -> None:
        """Take in that the program is the one that was noted last."""
        self._started = self._running = self._seen or ()

    def differs(self, context: TunnelContext) -> bool:
        """Return whether another program stands in the place of the one that was started; not if there is none now."""
        now = _look(context)
        return bool(now and self._started) and now != self._started

    def has_changed(self, context: TunnelContext) -> bool:
        """Return whether it was installed, replaced or made executable since the last check; the first finds no change."""
        before, self._seen = self._seen, _look(context)
        return before is not None and self._seen != before

    def replaced_while_running(self, context: TunnelContext, known: Programs | None = None) -> str:
        """Return the path of a program that was replaced under its living child, once.

        Nothing is known yet of one that is away, that has changed since the last check (it may still be written), or that
        cannot be run (an installer sets the mode last). `known`: the programs that others have checked a moment ago.
        """
        seen, before = _look(context, known), self._settling
        self._settling = seen
        if not seen or seen == self._running or seen != before or not os.access(str(seen[0]), os.X_OK):
            return ""
        old, self._running = self._running, seen
        return str(seen[0]) if old else ""

    async def ask_version(self, context: TunnelContext, program: tuple[str, ...]) -> str:
        """Wait for this tunnel's turn to start a child, and ask the program for its version.

        Raises PrxError if the tunnel is stopped meanwhile (`give_up`): a program may hang.
        """
        try:
            async with asyncio.timeout(None) as self._asking:
                await _until_port_is_free(context)
                await context.shared.spawn_limiter.wait()
                return await ask_version(program, context.shared.state)
        except TimeoutError as error:
            raise PrxError("asked to stop before it was started") from error
        finally:
            self._asking = None

    async def change(self, version: str) -> str:
        """Return what to say of the program that is about to be started if the last child ran another one; empty if not."""
        return await self.last.change(self._seen or (), version)

    def give_up(self) -> None:
        """End the wait for the version, if there is one."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.reschedule(asyncio.get_running_loop().time())


async def _until_port_is_free(context: TunnelContext) -> None:
    """Wait for the fixed port if this tunnel's connectors take turns: another tunnel may have had it, and serve on."""
    port, ports = context.client.metrics_port, context.shared.ports
    if not context.backend.can_overlap and ports.is_held(port):
        context.log("info", f"metrics_port {port} is held by a connector that has yet to end: the new one waits for that")
        await ports.until_free(port)


def _look(context: TunnelContext, known: Programs | None = None) -> tuple[object, ...]:
    """Return what changes when the program is installed, replaced or made executable; empty if there is none."""
    if context.backend.client is None:
        return ()
    name = context.client.program()[0]
    if known is None:
        return _facts(name, context)
    if name not in known:
        known[name] = _facts(name, context)
    return known[name]


def _facts(name: str, context: TunnelContext) -> tuple[object, ...]:
    if name.startswith(os.sep):  # asked every other second, and there is nothing to search for
        seen = file_fingerprint(name)
        return (name, *seen) if seen and not is_folder(seen) else ()
    found = find_client(name, context.shared.inherited) or which(name, mode=os.F_OK)
    return () if found is None else (found, *file_fingerprint(found))
