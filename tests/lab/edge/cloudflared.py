"""The real cloudflared as a child, for tests marked `real`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from prx.lab import Lab

VARIABLE = "PRX_TEST_CLOUDFLARED"
PATIENCE = 30.0  # seconds that a test waits for what must happen


def binary() -> str:
    """The path of the real cloudflared; skips the test, and says so, where there is none."""
    path = os.environ.get(VARIABLE, "")
    if not path:
        pytest.skip(f"{VARIABLE} does not name a cloudflared")
    return path


class Cloudflared:
    """A running cloudflared; its lines are collected in `lines`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = asyncio.Condition()

    async def drain(self) -> None:
        """Collect lines until the child closes its pipe."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._news:
                self.lines.append(line.decode("utf-8", "replace"))
                self._news.notify_all()

    async def said(self, condition: Callable[[str], bool]) -> str:
        """Wait for a line, also one that has come already."""
        async with asyncio.timeout(PATIENCE), self._news:
            while True:
                for line in self.lines:
                    if condition(line):
                        return line
                await self._news.wait()

    async def stop(self) -> int:
        """Ask it to stop and wait for its exit code."""
        self.process.terminate()
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def run_cloudflared(lab: Lab, folder: Path, *flags: str, after_run: tuple[str, ...] = ()) -> AsyncIterator[Cloudflared]:
    """Run `cloudflared tunnel …` against a lab over HTTP/2; `after_run` makes it `… run …`, for a named tunnel."""
    config = folder / "config.yml"
    config.write_text("{}")
    arguments = ["tunnel", "--no-autoupdate", "--no-prechecks", "--config", str(config), "--metrics", "127.0.0.1:0"]
    for address in lab.edge_addrs:
        arguments += ["--edge", address]
    arguments += ["--cacert", str(lab.ca_file), "--quick-service", lab.quick_service, "--protocol", "http2", *flags]
    if after_run:
        arguments += ["run", *after_run]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
    process = await asyncio.create_subprocess_exec(
        binary(), *arguments, env=environment, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    child = Cloudflared(process)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child.drain(), name="drain")
            try:
                yield child
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
    finally:
        process._transport.close()  # type: ignore[attr-defined]  # its pipes would be collected too late
