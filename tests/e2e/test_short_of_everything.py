"""What runs keeps running, whatever the machine refuses: descriptors, processes, threads, memory, room on the disk."""

import asyncio
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.e2e import failing
from tests.e2e.bench import Bench
from tests.e2e.prx_process import PRX, Json, PrxProcess, clean_environment, prx_start, run_prx, started
from tests.support.origin import HostedOrigin

from prx.testing.fake_cloudflared.scripted import write_fake

ROUNDS = 5


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_every_call_fails_once_at_every_place(tmp_path: Path, origin: HostedOrigin) -> None:
    """Each call that can fail does, once at each place, while a tunnel runs, dies, is started again, reloaded and stopped.

    prx lives, the tunnel comes back each time, the end is that which was asked for, and there is no traceback.
    """
    text = (
        f'[tunnel]\nlocal_addr = "127.0.0.1:{origin.port}"\nurl_env_file = "url.env"\non_url = ["true"]\n'
        f'[tunnel.cloudflare]\ncloudflared_path = "builtin"\ngrace_period_secs = 1\n'
    )
    (tmp_path / "prx.toml").write_text(text)
    environ = clean_environment(
        tmp_path, FAILING_FROM=str(tmp_path / "from"), FAILING_LOG=str(tmp_path / "hit"), PYTHONPATH=str(Path.cwd())
    )
    command = [sys.executable, failing.__file__, "start", "--lab", "--json"]
    async with started(command, environ=environ, cwd=tmp_path) as prx:
        try:
            await prx.event("state_changed", new="ready", within=60)
            (tmp_path / "from").touch()
            for number in range(ROUNDS):
                await one_round(prx, tmp_path, text, number)
            assert await prx.stop(signal.SIGINT) == 0, prx.story()
        finally:
            (tmp_path / "talk").write_text("\n".join(prx.lines))
    hit = sorted(set((tmp_path / "hit").read_text().splitlines()))
    assert len(hit) > 40, hit
    assert "Traceback" not in "\n".join(prx.lines)


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


def is_told(seen: int, event: Json) -> bool:
    """Return whether a later event says that the tunnel is ready, or how long it waits."""
    return event["seq"] > seen and (event.get("new") == "ready" or event["event"] == "restart_scheduled")


async def comes_back(prx: PrxProcess, seen: int) -> None:
    """Wait until the tunnel is ready again; waits that grow with each failed start are cut short."""
    end = time.monotonic() + 60
    while True:
        ready = await prx.first(partial(is_told, seen), "ready", within=end - time.monotonic())
        if ready.get("new") == "ready":
            return
        seen = ready["seq"]
        await run_prx("restart", environ=prx.environ)


async def pid_of_child(prx: PrxProcess) -> int:
    """Return the pid of the child that lives."""
    started = [event["pid"] for event in prx.events if event["event"] == "child_started"]
    ended = [event["pid"] for event in prx.events if event["event"] == "child_exited"]
    return next(int(pid) for pid in reversed(started) if pid not in ended)


@pytest.mark.parametrize("status", [200, 404])
async def test_a_prx_without_descriptors_finds_no_fault(bench: Bench, origin: HostedOrigin, status: int) -> None:
    """While prx itself gets no descriptor, for several checks, nothing is called down or restarted, and one line says why."""
    origin.answer_with(status)
    bench.configure(f'local_addr = "127.0.0.1:{origin.port}"')
    async with prx_start("--lab", environ=bench.environ, cwd=bench.folder) as prx:
        ready = await prx.event("state_changed", new="ready", within=60)
        await prx.event("probe", after=ready["seq"])
        _, hard = resource.prlimit(prx.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(prx.process.pid, resource.RLIMIT_NOFILE, (0, hard))
        warned = await prx.first(lambda event: "cannot check the tunnel now" in event.get("message", ""), "a warning")
        await asyncio.sleep(8)  # four checks, and longer than a connector that was silent would be kept
        resource.prlimit(prx.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        probe = await prx.event("probe", after=prx.events[-1]["seq"])
    since = [event for event in prx.events if ready["seq"] < event["seq"] <= probe["seq"]]
    assert [event for event in since if event["event"] in {"verdict_changed", "state_changed", "restart_scheduled"}] == []
    assert (probe["status"], probe["verdict"]) == (status, "healthy")
    assert "Too many open files" in warned["message"]
    assert len([event for event in since if "cannot check the tunnel now" in event.get("message", "")]) == 1


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that another user can reach, too."""
    with tempfile.TemporaryDirectory(prefix="prx-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


LIMITS = {
    "files 7": (["--nofile=7"], False, []),
    "files 9": (["--nofile=9"], False, []),
    "files 12": (["--nofile=12"], False, []),
    "files 5": (["--nofile=5"], False, []),
    "files 14": (["--nofile=14"], False, ["--lab"]),
    "files 16": (["--nofile=16"], False, ["--lab"]),
    "files 24": (["--nofile=24"], False, ["--lab"]),
    "processes 1": (["--nproc=1"], True, ["--lab"]),
    "processes 3": (["--nproc=3"], True, ["--lab"]),
    "processes 5": (["--nproc=5"], True, ["--lab"]),
    "memory 30 MB": (["--as=30000000"], False, []),
    "memory 95 MB": (["--as=95000000"], False, ["--lab"]),
    "memory 115 MB": (["--as=115000000"], False, ["--lab"]),
    "memory 150 MB": (["--as=150000000"], False, ["--lab"]),
}
UID = 4242  # root is exempt from the limit of processes; the capabilities let it read where this checkout lies
AS_ANOTHER = [
    "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override",
]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(LIMITS))
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("prlimit") is None, reason="needs root and prlimit")
async def test_a_machine_with_too_little_is_told_in_words(open_folder: Path, kind: str, origin: HostedOrigin) -> None:
    """Under a limit that is too low prx runs all the same, or ends with words and an exit code; never with a traceback."""
    limit, as_another, arguments = LIMITS[kind]
    home = open_folder
    write_fake(home / "cloudflared", {"connections": 1})
    (home / "prx.toml").write_text(f'[tunnel.cloudflare]\ncloudflared_path = "{home}/cloudflared"\n')
    for path in [home, *home.iterdir()] if as_another else []:
        os.chown(path, UID, UID)
    process = await asyncio.create_subprocess_exec(
        "prlimit", *limit, "--", *(AS_ANOTHER if as_another else []), PRX, "start", str(origin.port), "--ttl", "3s", *arguments,
        env=clean_environment(home), cwd=home, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    words = said.decode()
    assert process.returncode in {0, 1}, words
    assert "Traceback" not in words
    assert process.returncode == 0 or words.startswith("error: ") or "\nerror: " in words
