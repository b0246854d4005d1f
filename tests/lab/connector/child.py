"""A connector as a child process: its lines as they come, its exit code."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from tests.lab.connector.mini_edge import PATIENCE

BUILTIN = (sys.executable, "-m", "prx.lab.connector")
TUNNEL_ID = UUID("11111111-2222-4333-8444-555555555555")


def token(**changes: str) -> str:
    """A token that can be read."""
    parts = {"a": "account", "t": str(TUNNEL_ID), "s": base64.b64encode(b"secret" * 5).decode(), **changes}
    return base64.b64encode(json.dumps(parts).encode()).decode()


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a connector needs and nothing that would steer it."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), **more}


class Child:
    """A running connector; `lines` are those of stderr so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = asyncio.Condition()

    async def line(self, *words: str, count: int = 1) -> str:
        """Wait for the `count`-th line that holds all the words."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [line for line in self.lines if all(word in line for word in words)]
            return len(found) >= count

        try:
            async with asyncio.timeout(PATIENCE), self._changed:
                await self._changed.wait_for(there)
        except TimeoutError:
            raise AssertionError(f"no line {count} with {words} among:\n" + "\n".join(self.lines)) from None
        return found[count - 1]

    async def any_line(self, *words: str) -> str:
        """Wait for the first line that holds one of the words."""

        def there() -> list[str]:
            return [line for line in self.lines if any(word in line for word in words)]

        async with asyncio.timeout(PATIENCE), self._changed:
            return (await self._changed.wait_for(there))[0]

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def exit_code(self) -> int:
        """Wait for the end."""
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def read(self) -> None:
        """Collect stderr until it ends."""
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            async with self._changed:
                self.lines.append(line.decode().rstrip("\n"))
                self._changed.notify_all()


@asynccontextmanager
async def started(
    arguments: Sequence[str], home: Path, *, command: Sequence[str] = BUILTIN, **env: str
) -> AsyncIterator[Child]:
    """Run a connector until the block ends; kill it if it is still there then."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        env=environment(home, **env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    child = Child(process)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(child.read())
            try:
                yield child
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
    finally:
        transport: Callable[[], None] = process._transport.close  # type: ignore[attr-defined]
        transport()


async def run(arguments: Sequence[str], home: Path, *, command: Sequence[str] = BUILTIN, **env: str) -> tuple[int, str, str]:
    """Run a connector to its end; return exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        env=environment(home, **env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
