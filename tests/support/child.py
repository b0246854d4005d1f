"""The one wrapper of a child process: its lines as they come, its exit code, and an end with the block."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.support.waits import PATIENCE

_T = TypeVar("_T")
_PIPE = asyncio.subprocess.PIPE
_LINE_BYTES = 16 * 1024 * 1024


class Child:
    """A running child; `lines` are those of its stderr so far. A subclass says in `take` what else becomes of a line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = asyncio.Condition()
        self._open = 2

    def take(self, stream: str, line: bytes) -> None:
        """Keep a line of `stdout` or `stderr`."""
        if stream == "stderr":
            self.lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))

    def story(self) -> str:
        """Return what happened, for the message of a failed test."""
        return "\n".join(self.lines[-60:])

    async def wait(self, found: Callable[[], _T | None], what: str, *, within: float = PATIENCE) -> _T:
        """Return what `found` gives as soon as it is not None; fail when the child ends without it."""
        try:
            async with asyncio.timeout(within), self._news:
                while (got := found()) is None:
                    if not self._open:
                        raise AssertionError(f"the child ended without {what}\n{self.story()}")
                    await self._news.wait()
                return got
        except TimeoutError:
            raise AssertionError(f"no {what} within {within} s\n{self.story()}") from None

    async def said(self, fits: Callable[[str], bool], *, count: int = 1, what: str = "line that fits") -> str:
        """Wait for the `count`-th line of stderr that fits, past ones included."""

        def found() -> str | None:
            return next(iter([line for line in self.lines if fits(line)][count - 1 :]), None)

        return await self.wait(found, what)

    async def line(self, *words: str, count: int = 1) -> str:
        """Wait for the `count`-th line of stderr that holds all the words."""
        return await self.said(lambda line: all(word in line for word in words), count=count, what=f"line {count} with {words}")

    async def any_line(self, *words: str) -> str:
        """Wait for the first line of stderr that holds one of the words."""
        return await self.said(lambda line: any(word in line for word in words), what=f"line with one of {words}")

    def send(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def exit_code(self, *, within: float = PATIENCE) -> int:
        """Wait for the end."""
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def stop(self, number: int = signal.SIGTERM, *, within: float = PATIENCE) -> int:
        """Send a signal and return the exit code."""
        self.send(number)
        return await self.exit_code(within=within)

    async def read(self, name: str, stream: asyncio.StreamReader) -> None:
        """Take lines until the stream ends."""
        async for line in stream:
            async with self._news:
                self.take(name, line)
                self._news.notify_all()
        async with self._news:
            self._open -= 1
            self._news.notify_all()


ChildT = TypeVar("ChildT", bound=Child)


@asynccontextmanager
async def running(
    argv: Sequence[str], make: Callable[[asyncio.subprocess.Process], ChildT], *, env: Mapping[str, str], **more: Any
) -> AsyncIterator[ChildT]:
    """Run a child until the block ends, and kill it if it still runs then; `more` goes to `create_subprocess_exec`."""
    process = await asyncio.create_subprocess_exec(
        *argv, env=dict(env), stdin=asyncio.subprocess.DEVNULL, stdout=_PIPE, stderr=_PIPE, limit=_LINE_BYTES, **more
    )
    child = make(process)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.TaskGroup() as readers:
            readers.create_task(child.read("stdout", process.stdout), name="stdout")
            readers.create_task(child.read("stderr", process.stderr), name="stderr")
            try:
                yield child
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
    finally:
        process._transport.close()  # type: ignore[attr-defined]  # its pipes would be collected too late


@dataclass(frozen=True)
class Done:
    """What a child that has ended left: exit code (negative: killed by a signal), stdout, stderr."""

    code: int
    out: str
    err: str


async def run(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, given: str = "", within: float = PATIENCE
) -> Done:
    """Run a child to its end, with `given` on its stdin."""
    process = await asyncio.create_subprocess_exec(*argv, env=dict(env), cwd=cwd, stdin=_PIPE, stdout=_PIPE, stderr=_PIPE)
    async with asyncio.timeout(within):
        out, err = await process.communicate(given.encode())
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())
