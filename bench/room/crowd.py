"""Many scenes side by side, each a program in namespaces of its own; the last line that it prints is its result."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

HERE = Path(__file__).resolve().parents[2]
STAGGER = 1.0  # seconds between two starts: what a start costs would disturb what runs

_Key = TypeVar("_Key")


class Crowd(Generic[_Key]):
    """Run commands, at most `jobs` at once; `prefix` puts each in namespaces of its own."""

    def __init__(self, jobs: int, prefix: Sequence[str], *, within: float) -> None:
        self._places = asyncio.Semaphore(jobs)
        self._starting = asyncio.Lock()
        self._prefix = prefix
        self._within = within

    async def results(self, commands: Sequence[tuple[_Key, Sequence[str]]]) -> AsyncIterator[tuple[_Key, dict[str, Any] | str]]:
        """Yield each key with the JSON that its command printed last, or why there is none, in the order of their ends."""
        done: asyncio.Queue[tuple[_Key, dict[str, Any] | str]] = asyncio.Queue()

        async def one(key: _Key, argv: Sequence[str]) -> None:
            async with self._places:
                async with self._starting:
                    await asyncio.sleep(STAGGER)
                await done.put((key, await self._run(argv)))

        async with asyncio.TaskGroup() as group:
            for number, (key, argv) in enumerate(commands):
                group.create_task(one(key, argv), name=f"scene {number}")
            for _ in commands:
                yield await done.get()

    @staticmethod
    def end_on_sigterm() -> None:
        """Have SIGTERM end a run as Ctrl-C does: with all its scenes."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    async def _run(self, argv: Sequence[str]) -> dict[str, Any] | str:
        with TemporaryDirectory(prefix="prx-bench-", ignore_cleanup_errors=True) as folder:  # a killed scene cleans nothing up
            return await self._run_in(folder, argv)

    async def _run_in(self, folder: str, argv: Sequence[str]) -> dict[str, Any] | str:
        environ = {**os.environ, "PYTHONPATH": str(HERE), "TMPDIR": folder}
        process = await asyncio.create_subprocess_exec(
            *self._prefix, *argv, cwd=HERE, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(self._within):
                out, err = await process.communicate()
        except TimeoutError:
            return f"took longer than {self._within:g} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        try:
            found: dict[str, Any] = json.loads(out.splitlines()[-1])
        except (IndexError, ValueError):
            return why(err.decode(errors="replace")) or f"ended with {process.returncode} and no result"
        return found


def why(stderr: str) -> str:
    """Return the line of a traceback that says why: of a group of exceptions, that of the innermost."""
    lines = [line.strip(" |+-") for line in stderr.splitlines()]
    return next((line for line in reversed(lines) if line), "")
