"""Children that misbehave: they are drained, bounded, and gone when they should be."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.prx_process import clean_environment, prx_start

from prx.testing.fake_cloudflared.scripted import write_fake

LINES = 1_000_000


def bench(folder: Path, scenario: dict[str, Any]) -> dict[str, str]:
    """Write a fake child and a configuration that runs it; return the environment."""
    fake = write_fake(folder / "fake-cloudflared", scenario)
    text = f'[tunnel.cloudflare]\ncloudflared_path = "{fake}"\ngrace_period_secs = 1\n'
    (folder / "prx.toml").write_text(text)
    return clean_environment(folder)


def resident(pid: int) -> int:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) // 1024


@pytest.mark.parametrize("scenario", [{"flood": LINES}, {"pour": 10_000_000}], ids=["a million lines", "10 MB without newline"])
async def test_a_flood_neither_blocks_nor_grows(tmp_path: Path, scenario: dict[str, int]) -> None:
    """The child can write as much as it likes: it is not held up, prx answers meanwhile, and memory stays bounded."""
    environ = bench(tmp_path, {**scenario, "connections": 1})
    async with prx_start("--lab", environ=environ, cwd=tmp_path) as prx:
        await prx.event("child_started")
        before = resident(prx.process.pid)
        await prx.event("phase", phase="connected", within=60)  # the fake registers after its flood
        assert (await prx.ask("status", "--json"))[0] in {0, 1}
        assert resident(prx.process.pid) - before < 60
        assert await prx.stop() == 0
        assert len(prx.events) < LINES / 10


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """After grace (1 s) and margin (2 s) comes SIGKILL, to the whole group; prx still exits with 0."""
    environ = bench(tmp_path, {"connections": 1, "ignore_sigterm": True, "fork": True})
    async with prx_start("--lab", environ=environ, cwd=tmp_path) as prx:
        await prx.event("phase", phase="connected")
        group = (await prx.event("child_started"))["pid"]
        began = time.monotonic()
        assert await prx.stop() == 0
        assert 3 <= time.monotonic() - began < 10
        exited = await prx.event("child_exited")
        assert (exited["signal"], exited["result"]) == (9, "timeout")
        assert members(group) == []


async def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    """The second signal kills at once and gives 128 + its number."""
    environ = bench(tmp_path, {"connections": 1, "ignore_sigterm": True})
    async with prx_start("--lab", environ=environ, cwd=tmp_path) as prx:
        await prx.event("phase", phase="connected")
        child = (await prx.event("child_started"))["pid"]
        stopped = asyncio.ensure_future(prx.stop())  # noqa: TID251 - two signals, one process
        await prx.event("state_changed", new="stopping")
        assert await prx.stop(within=3) == 130
        assert await stopped == 130
        assert not Path(f"/proc/{child}").exists()


def members(group: int) -> list[int]:
    """List the live processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def test_the_helper_sees_processes() -> None:
    """`members` finds this very process in its group."""
    assert os.getpid() in members(os.getpgrp())


async def test_a_program_that_hangs_at_its_version_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    """The first signal ends the wait for `--version` as well, and nothing is started after it."""
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    (tmp_path / "prx.toml").write_text(f'[tunnel.cloudflare]\ncloudflared_path = "{program}"\n')
    async with prx_start("--lab", environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
        await prx.event("state_changed", new="starting")
        began = time.monotonic()
        assert await prx.stop() == 0
        assert time.monotonic() - began < 5
        await prx.event("state_changed", new="idle")
        assert not [event for event in prx.events if event["event"] == "child_started"]


async def test_a_closed_log_and_a_replaced_program_are_told(tmp_path: Path) -> None:
    """A child that closes its log and lives on, and a program that is replaced under it, are each told once; it stays."""
    program = tmp_path / "fake-cloudflared"
    text = (
        '#!/bin/sh\ncase "$*" in *--version*) echo "cloudflared version 2026.8.2 (built 2026)"; exit;; esac\n'
        "echo up >&2\nexec 2>&-\nexec sleep 600\n"
    )
    program.write_text(text)
    program.chmod(0o700)
    (tmp_path / "prx.toml").write_text(f'[tunnel.cloudflare]\ncloudflared_path = "{program}"\ngrace_period_secs = 1\n')
    async with prx_start("--lab", environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
        await prx.first(lambda event: "has closed its log" in event.get("message", ""), "word about the log")
        new = tmp_path / "new"
        new.write_text(text + "# another version\n")
        new.chmod(0o700)
        new.replace(program)
        await prx.first(lambda event: "was replaced" in event.get("message", ""), "word about the program")
        assert await prx.stop() == 0
        told = [event["message"] for event in prx.events if event["event"] == "log" and event["source"] == "prx"]
    assert sum("has closed its log" in message for message in told) == 1
    assert sum("was replaced" in message for message in told) == 1
    assert sum(event["event"] == "child_started" for event in prx.events) == 1


@pytest.mark.parametrize("kind", ["script", "forwards", "starts it again"])
async def test_a_wrapped_client_ends_cleanly(tmp_path: Path, kind: str) -> None:
    """Behind a script the client ends as a bare one: within its own time, and `child_exited` says clean; nothing is left."""
    client = write_fake(tmp_path / "client", {"connections": 1})
    wrapper = tmp_path / "fake-cloudflared"
    run = {
        "script": f'{client} "$@"\nexit 0',
        "forwards": f"trap 'kill -TERM $child' TERM\n{client} \"$@\" & child=$!\nwait $child; wait $child",
        "starts it again": f'while true; do {client} "$@"; done',
    }[kind]
    wrapper.write_text(f"#!/bin/sh\n{run}\n")
    if kind == "starts it again":
        wrapper.write_text(f'#!/bin/sh\ncase "$*" in *--version*) exec {client} "$@";; esac\n{run}\n')
    wrapper.chmod(0o700)
    (tmp_path / "prx.toml").write_text(f'[tunnel.cloudflare]\ncloudflared_path = "{wrapper}"\ngrace_period_secs = 20\n')
    async with prx_start("--lab", environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
        await prx.event("phase", phase="connected")
        group = (await prx.event("child_started"))["pid"]
        assert await prx.stop(within=15) == 0
        assert (await prx.event("child_exited"))["result"] == "clean"
        assert any("Unregistered tunnel connection" in event.get("message", "") for event in prx.events)
        assert members(group) == []
