"""The test's side of the fake: write it, follow its runs, send a run commands. Nothing here waits for a time.

async with ScriptedFake(tmp_path, {"connections": 4}) as fake:
    …start prx with cloudflared_path = fake.path…
    run = await fake.next_run()
    await run.send("lose all")
"""

from __future__ import annotations

import asyncio
import json
import shlex
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import prx

PATIENCE = 30.0  # seconds: a bound on waiting for what must come, far above what it takes


def write_fake(path: Path, scenario: Mapping[str, Any], *, control_port: int = 0) -> Path:
    """Write an executable that runs the fake with this scenario, and return `path`.

    Its runs are recorded in `path` + ".runs.jsonl" (see `recorded_runs`). The environment is not needed to find anything: prx
    starts its children with almost none.
    """
    scenario_file = path.with_name(path.name + ".scenario.json")
    scenario_file.write_text(json.dumps(dict(scenario)), encoding="utf-8")
    source = str(Path(prx.__file__).parent.parent)
    runs = str(_runs_file(path))
    runs_main = (
        f"import sys; sys.path.append({source!r}); from prx.testing.fake_cloudflared.client import main; "
        f"main({str(scenario_file)!r}, {runs!r}, {control_port})"
    )
    # -S -E: no site-packages and no variables, so that it starts in a few dozen milliseconds and the same everywhere
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S -E -c {shlex.quote(runs_main)} "$@"\n', encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def recorded_runs(path: Path) -> list[dict[str, Any]]:
    """Return how each run of the fake at `path` was started: `pid`, `argv`, `env`, `token_sha256`."""
    file = _runs_file(path)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def _runs_file(path: Path) -> Path:
    return path.with_name(path.name + ".runs.jsonl")


class FakeRun:
    """One run, from when it reports itself. `record` holds `pid`, `argv`, `env`, `token_sha256`."""

    def __init__(self, record: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.record = record
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        """Return its process id."""
        return int(self.record["pid"])

    async def send(self, command: str, *, wait: bool = True) -> None:
        """Send a command (see `commands`); return when it is done, or at once if it ends the run or blocks."""
        self._writer.write(command.encode() + b"\n")
        await self._writer.drain()
        if wait:
            await self.event("done")

    async def event(self, name: str) -> dict[str, Any]:
        """Return the next event of this name, passing over others; EOFError when the run ends before it comes."""
        async with asyncio.timeout(PATIENCE):
            while line := await self._reader.readline():
                event: dict[str, Any] = json.loads(line)
                if event["event"] == name:
                    return event
        raise EOFError(f"the run ended before {name!r}")

    async def ended(self) -> None:
        """Return when the process has ended."""
        async with asyncio.timeout(PATIENCE):
            while await self._reader.readline():
                pass


class ScriptedFake:
    """A fake client in `folder`, with a control server on a loopback port; an asynchronous context manager."""

    def __init__(self, folder: Path, scenario: Mapping[str, Any] | None = None, *, name: str = "cloudflared") -> None:
        self.path = folder / name
        self.scenario = dict(scenario or {})
        self._runs: asyncio.Queue[FakeRun] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._greet, "127.0.0.1", 0)
        write_fake(self.path, self.scenario, control_port=self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)
        await self._server.wait_closed()

    async def next_run(self) -> FakeRun:
        """Return the next run that has not been returned yet, as soon as it has started."""
        async with asyncio.timeout(PATIENCE):
            return await self._runs.get()

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Return how each run until now was started."""
        return recorded_runs(self.path)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if line := await reader.readline():
            self._runs.put_nowait(FakeRun(json.loads(line), reader, writer))
