"""prx as PID 1 of namespaces of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
from tests.e2e.prx_process import PrxProcess, started

UID = 65532


@asynccontextmanager
async def as_pid_1(
    argv: Sequence[str], *, environ: Mapping[str, str], cwd: Path
) -> AsyncIterator[tuple[PrxProcess, psutil.Process]]:
    """Run `argv`, an unshare(1) that ends in prx; once a tunnel starts yield prx, and its process as this machine sees it."""
    async with started(argv, environ=environ, cwd=cwd) as prx:
        await prx.event("state_changed")
        (init,) = psutil.Process(prx.process.pid).children()
        try:
            yield prx, init
        finally:
            with suppress(psutil.NoSuchProcess):
                init.kill()  # unshare's --kill-child is undone by the change of the user
            await prx.exit_code()
