"""A program that runs for the length of a block, with its lines, and its end by pid."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

PRX = (sys.executable, "-m", "prx")
LINE_LIMIT = 16 * 1024 * 1024


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing of this machine's user shows; `folder` holds all files."""
    given = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {**given, "HOME": str(folder), "PRX_DATA_DIR": str(folder / "data"), "LANG": "C.UTF-8"}


@asynccontextmanager
async def running(argv: Sequence[str], *, folder: Path, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program; its stdout is a pipe, its stderr goes to `folder/NAME.log`. At the end it is killed if it still runs."""
    with (folder / f"{name}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=environment(folder / name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=LINE_LIMIT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def first_line(process: asyncio.subprocess.Process, *, within: float = 60.0) -> str:
    """Read the line that a program says first; RuntimeError if it ends without one."""
    assert process.stdout is not None
    async with asyncio.timeout(within):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"a program ended before it said anything (exit code {await process.wait()})")
    return line.decode()
