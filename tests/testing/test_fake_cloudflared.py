"""The scripted fake does what its scenario and its test say, so that tests of the runtime can trust it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from tests.support import visitor
from tests.support.waits import PATIENCE, free_port

from prx.backends.base import LineKind, LogLine
from prx.backends.cloudflare.classify import parse_line
from prx.backends.cloudflare.endpoints import parse_counters, parse_ready
from prx.testing.fake_cloudflared.scripted import FakeRun, ScriptedFake, recorded_runs, write_fake


class Started:
    """A run of the fake with everything that belongs to it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.output = b""

    @property
    def lines(self) -> list[LogLine]:
        return [parse_line("stderr", line) for line in self.output.decode(errors="replace").split("\n")[:-1]]

    async def ask(self, path: str) -> tuple[int, bytes]:
        answer = await visitor.get(f"http://127.0.0.1:{self.port}{path}")
        return answer.status_code, answer.content

    async def ready(self) -> int:
        found = parse_ready(*await self.ask("/ready"))
        assert found is not None
        return found.ready

    async def exit_code(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def running(path: Path, *arguments: str) -> AsyncIterator[Started]:
    """Start the fake as a quick tunnel's client, reading its log; kill its group in the end."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(path), "tunnel", "--metrics", f"127.0.0.1:{port}", "--protocol", "http2", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env={},
        start_new_session=True,
    )  # fmt: skip
    started = Started(process, port)
    assert process.stderr is not None
    reader = process.stderr

    async def drain() -> None:
        while chunk := await reader.read(65536):
            started.output += chunk

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(drain(), name="drain")
        try:
            yield started
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


@asynccontextmanager
async def controlled(folder: Path, scenario: dict[str, Any], *arguments: str) -> AsyncIterator[tuple[Started, FakeRun]]:
    """Start a fake that the test controls."""
    async with ScriptedFake(folder, scenario) as fake, running(fake.path, *arguments) as started:
        run = await fake.next_run()
        assert run.pid == started.process.pid
        yield started, run


async def test_connections_come_and_go_on_command(tmp_path: Path) -> None:
    """What a command changes is true on the metrics port and stands in the log, as with the real client."""
    async with controlled(tmp_path, {"connections": 4}) as (started, run):
        await run.event("running")
        assert await started.ready() == 4
        await run.send("lose 2")
        assert await started.ready() == 3
        await run.send("lose all")
        assert await started.ask("/ready") == (503, (await started.ask("/ready"))[1])
        await run.send("register 0")
        assert await started.ready() == 1
        await run.send("reject Unauthorized: Invalid tunnel secret")
        await run.send("fail_dial")
        await run.send('count {"total_requests": 3}')
        counters = parse_counters((await started.ask("/metrics"))[1])
        started.process.send_signal(signal.SIGTERM)
        assert await started.exit_code() == 0
    assert (counters.registered, counters.rejected, counters.requests) == (5, 1, 3)
    kinds = [line.kind for line in started.lines]
    assert kinds.count(LineKind.REGISTERED) == 5
    assert {LineKind.LOST, LineKind.RETRYING, LineKind.UNAUTHORIZED, LineKind.DIAL_FAILED, LineKind.UNREGISTERED} <= set(kinds)


async def test_each_run_may_have_a_scenario_of_its_own(tmp_path: Path) -> None:
    """A client that fails once and then works can be written down, and each run is recorded."""
    path = write_fake(
        tmp_path / "cloudflared", {"runs": [{"exit": {"code": 1, "lines": ["tunnel is gone"]}}, {"connections": 1}]}
    )
    async with running(path) as first:
        assert await first.exit_code() == 1
    assert b"tunnel is gone" in first.output
    async with (
        ScriptedFake(tmp_path, {"runs": [{"exit": {"code": 1}}, {"connections": 2}]}) as fake,
        running(fake.path) as second,
    ):
        run = await fake.next_run()
        await run.event("running")
        assert await second.ready() == 2
    assert len(recorded_runs(path)) == 2


async def test_how_it_was_started_is_recorded_without_the_token(tmp_path: Path) -> None:
    """Arguments and environment are there to be read; of the token there is a digest."""
    token = tmp_path / "token"
    token.write_text("abc\n", encoding="utf-8")
    named = ("--loglevel", "info", "run", "--token-file", str(token))
    async with ScriptedFake(tmp_path) as fake, running(fake.path, *named) as started:
        run = await fake.next_run()
        assert await started.exit_code() == 255
    assert run.record["argv"][-3:] == ["run", "--token-file", str(token)]
    assert run.record["token_sha256"] == hashlib.sha256(b"abc").hexdigest()
    assert "PYTHONPATH" not in run.record["env"]
    assert fake.runs == [{key: value for key, value in run.record.items() if key != "event"}]


async def test_it_can_ignore_sigterm(tmp_path: Path) -> None:
    """A client that must be killed says that the signal came and goes on."""
    async with controlled(tmp_path, {"ignore_sigterm": True}) as (started, run):
        await run.event("running")
        started.process.send_signal(signal.SIGTERM)
        assert (await run.event("signal"))["name"] == "SIGTERM"
        assert await started.ready() == 1
        started.process.kill()
        assert await started.exit_code() == -signal.SIGKILL


async def test_it_can_leave_a_process_behind(tmp_path: Path) -> None:
    """A second process in its group outlives it until the group is killed."""
    async with controlled(tmp_path, {"fork": True}) as (_, run):
        await run.event("running")
        (left,) = psutil.Process(run.pid).children()
        await run.send("exit 0", wait=False)
        await run.ended()
        assert os.getpgid(left.pid) == run.pid
        left.terminate()
        assert left.is_running()


async def test_floods_arrive_whole(tmp_path: Path) -> None:
    """Lines and endless lines come as fast as they are read."""
    async with controlled(tmp_path, {"flood": 2000, "pour": 300_000}) as (started, run):
        await run.event("running")
        await run.send("line ")
        await run.send("exit 0", wait=False)
        await started.exit_code()
    assert started.output.count(b"flood") == 2000
    assert started.output.count(b"x" * 300_000) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_it_can_die_by_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """The parent sees the signal, not an exit code."""
    async with controlled(tmp_path, {}) as (started, run):
        await run.event("running")
        await run.send(f"die {number.value}", wait=False)
        assert await started.exit_code() == -number


async def test_it_can_hang(tmp_path: Path) -> None:
    """Before its metrics port is open, or with a port that accepts and never answers."""
    async with controlled(tmp_path, {"hang": "start"}) as (started, run):
        await run.event("running")
        with pytest.raises(httpx2.ConnectError, match="refused"):
            await started.ask("/ready")
    async with controlled(tmp_path, {"hang": "metrics"}) as (started, run):
        await run.event("running")
        reader, writer = await asyncio.open_connection("127.0.0.1", started.port)
        writer.write(b"GET /ready HTTP/1.1\r\n\r\n")
        await writer.drain()
        await run.send("line still here")  # it has gone round its loop
        assert not reader.at_eof()
        await run.send("answering on")
        assert await started.ready() == 1
        writer.close()
        await writer.wait_closed()


async def test_a_configuration_can_be_pushed(tmp_path: Path) -> None:
    """The pushed rules are on `/config`, and the log says so."""
    pushed = {"version": 3, "config": {"ingress": [{"service": "http://localhost:3000"}]}}
    async with controlled(tmp_path, {}) as (started, run):
        await run.event("running")
        await run.send(f"config {json.dumps(pushed)}")
        assert json.loads((await started.ask("/config"))[1]) == pushed
        await run.send("exit 0", wait=False)
        await started.exit_code()
    assert [line.fields["version"] for line in started.lines if line.kind is LineKind.CONFIG_PUSHED] == [3]


async def test_an_older_version_does_not_know_newer_flags(tmp_path: Path) -> None:
    """The fake is as strict as the release that it plays."""
    path = write_fake(tmp_path / "cloudflared", {"version": "2025.6.0"})
    async with running(path, "--output", "json") as started:
        assert await started.exit_code() == 0
    assert recorded_runs(path)[0]["argv"][-1] == "json"


def test_what_runs_in_the_child_needs_the_standard_library_alone() -> None:
    """It starts without site-packages, often, and so must not import anything large by accident."""
    import subprocess

    code = (
        "import sys; from prx.testing.fake_cloudflared import client; print('asyncio' in sys.modules, 'pathlib' in sys.modules)"
    )
    source = str(Path(write_fake.__code__.co_filename).parents[3])
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import sys; sys.path.append({source!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]
