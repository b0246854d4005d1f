"""What runs keeps running, whatever the machine refuses: descriptors, processes, threads, memory, room on the disk."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.e2e import failing
from tests.e2e.origin import OriginServer
from tests.e2e.prx_process import PrxProcess, clean_environment, run_prx

ROUNDS = 5


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_every_call_fails_once_at_every_place(tmp_path: Path, origin: OriginServer) -> None:
    """Each call that can fail does, once at each place, while a tunnel runs, dies, is started again, reloaded and stopped.

    prx lives, the tunnel comes back each time, the end is that which was asked for, and there is no traceback.
    """
    text = (
        f'[tunnel]\nlocal_addr = "127.0.0.1:{origin.port}"\nurl_env_file = "url.env"\non_url = ["true"]\n'
        f'[tunnel.cloudflare]\ncloudflared_path = "builtin"\ngrace_period_secs = 1\n'
    )
    (tmp_path / "prx.toml").write_text(text)
    environ = clean_environment(
        tmp_path, FAILING_FROM=str(tmp_path / "from"), FAILING_LOG=str(tmp_path / "hit"), PYTHONPATH=os.getcwd()
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, failing.__file__, "start", "--lab", "--json",
        env=environ, cwd=tmp_path, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, limit=16 * 1024 * 1024,
    )  # fmt: skip
    prx = PrxProcess(process, environ)
    async with asyncio.TaskGroup() as readers:
        readers.create_task(prx.read_events(), name="events")
        readers.create_task(prx.read_talk(), name="talk")
        try:
            await prx.event("state_changed", new="ready", within=60)
            (tmp_path / "from").touch()
            for number in range(ROUNDS):
                await one_round(prx, tmp_path, text, number)
            assert await prx.stop(signal.SIGINT) == 0, prx.story()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            (tmp_path / "talk").write_text("".join(prx.talk))
    hit = sorted(set((tmp_path / "hit").read_text().splitlines()))
    print(f"{len(hit)} places", *hit, sep="\n")
    assert len(hit) > 40
    assert "Traceback" not in "".join(prx.talk)


async def one_round(prx: PrxProcess, folder: Path, text: str, number: int) -> None:
    """Kill the child, see it come back, reload with a change that needs another child, ask how it stands."""
    seen = prx.events[-1]["seq"]
    os.kill(await pid_of_child(prx), signal.SIGKILL)
    await comes_back(prx, seen)
    seen = prx.events[-1]["seq"]
    (folder / "prx.toml").write_text(text + f"retries = {number % 5 + 1}\n")
    end = time.monotonic() + 20
    while (await run_prx("reload", environ=prx.environ, cwd=folder))[0] != 0:
        assert time.monotonic() < end, prx.story()
    await comes_back(prx, seen)


async def comes_back(prx: PrxProcess, seen: int) -> None:
    """Wait until the tunnel is ready again; waits that grow with each failed start are cut short."""
    end = time.monotonic() + 60
    while True:
        ready = await prx.first(
            lambda event: event["seq"] > seen and (event.get("new") == "ready" or event["event"] == "restart_scheduled"),
            "ready",
            within=end - time.monotonic(),
        )
        if ready.get("new") == "ready":
            return
        seen = ready["seq"]
        await run_prx("restart", environ=prx.environ)


async def pid_of_child(prx: PrxProcess) -> int:
    """Return the pid of the child that lives."""
    started = [event["pid"] for event in prx.events if event["event"] == "child_started"]
    ended = [event["pid"] for event in prx.events if event["event"] == "child_exited"]
    return next(int(pid) for pid in reversed(started) if pid not in ended)
