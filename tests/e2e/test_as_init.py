"""prx as PID 1 of a container: it collects what the kernel hands to it, and only that."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import psutil
import pytest
from tests.e2e.prx_process import PRX, clean_environment, started

from prx.runtime.process.reaper import OrphanReaper

# Leaves orphans behind, in four ways: at once, later, with an exit code, killed; then serves.
SERVICE = """
(sh -c 'exit 0' &)
(sh -c 'sleep 1; exit 7' &)
(sh -c 'kill -9 $$' &)
(setsid sh -c 'sleep 0.5' &)
exec "$0" -m http.server --bind 127.0.0.1 "$PORT"
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
@pytest.mark.slow
async def test_orphans_are_collected(tmp_path: Path, unused_port: int) -> None:
    """As PID 1 prx leaves no zombie of others, loses no child of its own, and ends as ever."""
    command = [
        "unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--", PRX, "start", "--json", "--lab", str(unused_port),
        "--", "sh", "-c", SERVICE, sys.executable,
    ]  # fmt: skip
    async with started(command, environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
        await prx.url()
        (init,) = psutil.Process(prx.process.pid).children()
        assert not await zombies_last(init), prx.story()
        init.send_signal(signal.SIGINT)
        assert await prx.exit_code() == 0, prx.story()
    assert "Traceback" not in "\n".join(prx.lines)
    exited = [event for event in prx.events if event["event"] == "child_exited"]
    assert [event["result"] for event in exited] == ["clean"]


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
