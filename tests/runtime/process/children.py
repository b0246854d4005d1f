"""Real children: Python snippets run as children of prx, and a collector of what they say."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.waits import PATIENCE

from prx.core.launch import Launch
from prx.runtime.process.child import ChildProcess


def open_descriptors() -> dict[str, str]:
    """Return what each open descriptor of this process leads to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names only
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - a magic link
        except OSError:
            continue  # the descriptor of the listing itself
    return found


class Child:
    """Run a Python snippet as a child of prx and collect its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, bytes]] = []
        self.closed: list[str] = []
        self._changed = asyncio.Event()

    def on_line(self, stream: str, line: bytes) -> None:
        """Note a line."""
        self.lines.append((stream, line))
        self._changed.set()

    def on_close(self, stream: str) -> None:
        """Note the end of a stream."""
        self.closed.append(stream)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until lines or ends of streams make the condition true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def line(self, start: bytes = b"") -> bytes:
        """Wait for the first line that starts so, and return the rest of it."""
        await self.until(lambda: any(line.startswith(start) for _, line in self.lines))
        return next(line for _, line in self.lines if line.startswith(start)).removeprefix(start)

    def text(self, stream: str) -> list[bytes]:
        """Return the lines of one stream."""
        return [line for name, line in self.lines if name == stream]

    async def start(self, launch: Launch) -> ChildProcess:
        """Start it."""
        return await ChildProcess.spawn(launch, on_line=self.on_line, on_close=self.on_close)


PRELUDE = """
import os, signal, sys, time
def say(*words): print(*words, flush=True)
"""


def python(code: str, *arguments: str, env: Mapping[str, str] | None = None, secret: bytes | None = None) -> Launch:
    """Return the launch of a Python snippet, quick to start and apart from this machine's settings."""
    argv = (os.path.realpath(sys.executable), "-I", "-S", "-c", PRELUDE + code, *arguments)
    return Launch(argv, dict(env or {}), secret=secret)


_pidfd_open = os.pidfd_open  # a test may replace that of `os`


async def gone(pid: int) -> None:
    """Wait until a process that need not be our child has ended."""
    try:
        pidfd = _pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def executable(path: Path, content: bytes) -> Path:
    """Write a file that may be executed."""
    path.write_bytes(content)
    path.chmod(0o700)
    return path
