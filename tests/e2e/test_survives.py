"""What happens when something is killed."""

import os
import signal
from pathlib import Path

from tests.e2e.bench import Bench
from tests.e2e.prx_process import clean_environment, prx_start
from tests.support.origin import HostedOrigin
from tests.support.visitor import get

from prx.testing.fake_cloudflared.scripted import write_fake


async def test_a_killed_child_is_replaced_with_growing_waits(quick_bench: Bench, origin: HostedOrigin) -> None:
    """`kill -9` of the child: restarted after 5 s; killed again: the next wait is 10 s."""
    bench = quick_bench
    async with prx_start(str(origin.port), "--lab", environ=bench.environ, cwd=bench.folder) as prx:
        old_url = await prx.url()
        first = await prx.event("child_started")
        os.kill(first["pid"], signal.SIGKILL)
        exited = await prx.event("child_exited")
        assert (exited["pid"], exited["code"], exited["signal"]) == (first["pid"], None, 9)
        scheduled = await prx.event("restart_scheduled")
        assert (scheduled["delay"], scheduled["attempt"]) == (5, 1)
        second = await prx.event("child_started", after=first["seq"])
        changed = await prx.event("url_changed", after=second["seq"])
        assert changed["old"] == old_url
        assert (await get(changed["url"])).status_code == 200
        os.kill(second["pid"], signal.SIGKILL)
        again = await prx.event("restart_scheduled", after=scheduled["seq"])
        assert (again["delay"], again["attempt"]) == (10, 2)
        assert await prx.stop() == 0


async def test_the_child_dies_with_prx(bench: Bench, origin: HostedOrigin) -> None:
    """`kill -9` of prx takes the child along within a second."""
    async with prx_start(str(origin.port), "--lab", environ=bench.environ, cwd=bench.folder) as prx:
        await prx.url()
        child = (await prx.event("child_started"))["pid"]
        handle = os.pidfd_open(child)
        try:
            prx.process.kill()
            assert await _ends(handle, within=1.0)
        finally:
            os.close(handle)


async def test_ten_children_die_with_prx(tmp_path: Path) -> None:
    """`kill -9` of prx takes the children of ten tunnels along, and the next start runs ten, not twenty."""
    fake = write_fake(tmp_path / "cloudflared", {"connections": 1, "ignore_sigterm": True})
    child = f'cloudflared_path = "{fake}"\ngrace_period_secs = 1\n'
    tables = [
        f'[tunnels.t{number}]\nlocal_addr = "127.0.0.1:9"\n[tunnels.t{number}.cloudflare]\n{child}' for number in range(10)
    ]
    (tmp_path / "prx.toml").write_text("".join(tables))
    for _ in range(2):
        async with prx_start("--lab", environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
            for number in range(10):
                await prx.event("child_started", tunnel=f"t{number}")
            pids = {event["pid"] for event in prx.events if event["event"] == "child_started"}
            handles = [os.pidfd_open(pid) for pid in pids]
            try:
                prx.process.kill()
                assert (len(handles), [await _ends(handle, within=1.0) for handle in handles]) == (10, [True] * 10)
            finally:
                for handle in handles:
                    os.close(handle)


async def _ends(handle: int, *, within: float) -> bool:
    import asyncio

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(within):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
    return True
