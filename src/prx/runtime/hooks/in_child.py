"""Run what a hook does in a child process, for a bounded time."""

from __future__ import annotations

import asyncio
from collections import deque

from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch
from prx.runtime.hooks.kinds import HookError
from prx.runtime.process.child import ChildProcess
from prx.runtime.process.spawn import SpawnError


async def run_to_end(launch: Launch, timeout: float, *, lines: int) -> tuple[ExitStatus | None, list[bytes]]:
    """Return how the child ended and the last `lines` of its output; None if it was killed because `timeout` seconds were over.

    Raises HookError if it cannot be started. What it leaves in the background is killed with its group.
    """
    tail: deque[bytes] = deque(maxlen=lines)
    try:
        process = await ChildProcess.spawn(launch, on_line=lambda _, line: tail.append(line))
    except SpawnError as error:
        raise HookError(error.message, permanent=error.permanent) from error
    end = None
    async with process:
        try:
            async with asyncio.timeout(timeout):
                end = await process.wait()
        except TimeoutError:
            pass
    return end, list(tail)
