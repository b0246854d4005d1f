"""prx as PID 1 of a container: it collects what the kernel hands to it, and only that; and it ends when asked."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.e2e.prx_process import PRX, clean_environment, started
from tests.support.child import Child, running

from prx.runtime.process.reaper import OrphanReaper

# Leaves orphans behind, in four ways: at once, later, with an exit code, killed; then serves.
SERVICE = """
(sh -c 'exit 0' &)
(sh -c 'sleep 1; exit 7' &)
(sh -c 'kill -9 $$' &)
(setsid sh -c 'sleep 0.5' &)
exec "$0" -m http.server --bind 127.0.0.1 "$PORT"
"""

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--")
needs_namespace = pytest.mark.skipif(
    os.geteuid() != 0 or any(shutil.which(tool) is None for tool in ("unshare", "nsenter")), reason="needs root and unshare"
)


@needs_namespace
@pytest.mark.slow
async def test_orphans_are_collected(tmp_path: Path, unused_port: int) -> None:
    """As PID 1 prx leaves no zombie of others, loses no child of its own, and ends as ever."""
    service = ["--", "sh", "-c", SERVICE, sys.executable]
    command = [*NAMESPACE, PRX, "start", "--json", "--lab", str(unused_port), *service]
    async with started(command, environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
        await prx.url()
        (init,) = psutil.Process(prx.process.pid).children()
        assert not await zombies_last(init), prx.story()
        init.send_signal(signal.SIGINT)
        assert await prx.exit_code() == 0, prx.story()
    assert "Traceback" not in "\n".join(prx.lines)
    exited = [event for event in prx.events if event["event"] == "child_exited"]
    assert [event["result"] for event in exited] == ["clean"]


# Leaves a thousand orphans behind at once, each by two forks and in a session of its own; then serves.
DAEMONS = """
import http.server, os
for _ in range(1000):
    if not os.fork():
        os.setsid()
        os.fork()
        os._exit(0)
    os.wait()
print("left", flush=True)
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(os.environ["PORT"]), bind="127.0.0.1")
"""


@needs_namespace
@pytest.mark.slow
async def test_a_thousand_daemons_hold_up_nothing(tmp_path: Path, unused_port: int) -> None:
    """A service that leaves a thousand zombies to PID 1 at once holds up neither the start nor an answer; all are collected."""
    command = [*NAMESPACE, PRX, "start", "--json", "--lab", str(unused_port), "--", sys.executable, "-c", DAEMONS]
    async with started(command, environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
        await prx.event("log", message="left")
        assert (await prx.ask("status", "--json"))[0] in {0, 1}
        await prx.url()
        (init,) = psutil.Process(prx.process.pid).children()
        assert not await zombies_last(init), prx.story()
        init.send_signal(signal.SIGTERM)
        assert await prx.exit_code() == 0, prx.story()


@needs_namespace
@pytest.mark.slow
@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGQUIT])
async def test_signals_reach_pid_1(tmp_path: Path, last: int) -> None:
    """PID 1 has no default actions: what asks for an end ends it from inside, what means nothing is passed on to no child.

    A connector that is killed, as for lack of memory, is collected and another one started.
    """
    command = [*NAMESPACE, PRX, "start", "--json", "--lab", "--hello"]
    async with started(command, environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
        await prx.url()
        (init,) = psutil.Process(prx.process.pid).children()
        first = (await prx.event("child_started"))["seq"]
        inside(init, f"kill -{int(signal.SIGUSR1)} 1")
        await prx.first(lambda event: "SIGUSR1 changes nothing" in event.get("message", ""), "word on SIGUSR1")
        (connector,) = [child for child in init.children() if "tunnel" in child.cmdline()]
        connector.kill()
        ended = await prx.event("child_exited")
        assert (ended["signal"], ended["result"]) == (signal.SIGKILL, "signal")
        await prx.event("child_started", after=first)
        await prx.url(after=ended["seq"])
        assert not await zombies_last(init), prx.story()
        inside(init, f"kill -{int(last)} 1")
        assert await prx.exit_code() == 0, prx.story()


@needs_namespace
@pytest.mark.slow
async def test_a_lab_collects_orphans(tmp_path: Path) -> None:
    """`prx lab` as PID 1 collects what a command in its container leaves behind, and ends when it is asked."""
    async with running([*NAMESPACE, PRX, "lab", "--json"], Lab, env=clean_environment(tmp_path), cwd=tmp_path) as lab:
        await lab.wait(lambda: lab.facts or None, "line on stdout")
        (init,) = psutil.Process(lab.process.pid).children()
        inside(init, "(sleep 0.2 &)")
        assert not await zombies_last(init)
        init.send_signal(signal.SIGQUIT)
        assert await lab.exit_code() == 0


class Lab(Child):
    """A `prx lab --json`; `facts` once it listens."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__(process)
        self.facts: dict[str, object] = {}

    def take(self, stream: str, line: bytes) -> None:
        """Keep its one line."""
        if stream == "stdout":
            self.facts = json.loads(line)
        super().take(stream, line)


def inside(init: psutil.Process, script: str) -> None:
    """Run a script in the namespace of PID 1: from there the kernel drops each signal that PID 1 does not catch."""
    subprocess.run(["nsenter", f"--target={init.pid}", "--pid", "sh", "-c", script], check=True)


async def zombies_last(init: psutil.Process) -> list[psutil.Process]:
    """Return the zombies that are there for six seconds on end, none after as many seconds without one."""
    quiet = 0
    for _ in range(60):
        zombies = [child for child in init.children() if child.status() == psutil.STATUS_ZOMBIE]
        quiet = 0 if zombies else quiet + 1
        if quiet > 25:
            return []
        await asyncio.sleep(0.1)
    return zombies


def spawn(script: str) -> int:
    """Start a child of this process that is not waited for."""
    return os.posix_spawn("/bin/sh", ["sh", "-c", script], {})


def collect(pid: int) -> int:
    """Return the exit code of a child that has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def test_a_child_of_another_part_is_left_to_it() -> None:
    """A child that another part of prx has started and waits for keeps its exit code; one of `ours` is never collected."""
    ours: set[int] = set()
    with OrphanReaper(ours, is_init=True) as reaper:
        waited = await asyncio.create_subprocess_exec("sh", "-c", "exit 5")
        assert await waited.wait() == 5
        pid = spawn("exit 6")
        ours.add(pid)
        other = spawn("exit 7")
        async with asyncio.timeout(20):
            while not reaper.collected:  # noqa: ASYNC110 - it sends no event
                await asyncio.sleep(0.05)
        assert collect(pid) == 6
        with pytest.raises(ChildProcessError):
            collect(other)
    assert reaper.collected == 1
