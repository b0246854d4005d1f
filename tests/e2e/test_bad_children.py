"""Children that misbehave: they are drained, bounded, and gone when they should be."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.e2e.prx_process import clean_environment, prx_start, run_prx
from tests.e2e.world import world
from tests.support.origin import HostedOrigin

from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core.events import ChildStarted, Log, Probed, RestartScheduled
from prx.lab import Lab
from prx.testing.clock import ManualClock
from prx.testing.fake_cloudflared.scripted import ScriptedFake, write_fake

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
    """A child that closes its log and lives on, and a program that is replaced under it, are each reported once; it stays."""
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
        for _ in range(2):
            _, _, said = await run_prx("reload", environ=prx.environ, cwd=tmp_path)
            assert "default: the connector's program (it was replaced): prx restart default takes it" in said
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


async def test_a_self_update_is_warned_of_and_costs_no_wait(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """A client that ends with code 11 has replaced itself: a warning, and the next one runs at once, without a backoff."""
    async with (
        ScriptedFake(tmp_path, {"connections": 1}) as fake,
        world(lab, clock, tmp_path, connector=str(fake.path), port=origin.port) as here,
    ):
        first = await fake.next_run()
        await here.live(lambda _: here.restarts == 0 and len(here.told(ChildStarted)) == 1)
        await first.send("exit 11", wait=False)
        await here.live(lambda _: here.restarts == 1)
        warnings = [fact.message for fact in here.told(Log) if fact.level == "warn" and fact.source == "prx"]
        assert sum("has replaced itself" in message for message in warnings) == 1
        assert here.told(RestartScheduled) == []


@pytest.mark.parametrize("mode", ["quick", "named"])
async def test_a_frozen_child_is_replaced(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, mode: str
) -> None:
    """A child that is stopped (SIGSTOP) once it was ready is shown as lost, then replaced, and nothing of it is left."""
    named = {"mode": "named", "token": lab.token("app.localhost"), "hostname": "app.localhost"}
    cloudflare = named if mode == "named" else {}
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, cloudflare=cloudflare) as here:
        await here.live(lambda status: status.state == "ready")
        frozen = here.told(ChildStarted)[0].pid
        os.kill(frozen, signal.SIGSTOP)
        await here.live(lambda status: status.verdict == "edge_lost")
        clock.advance(10)  # the longest patience with a child that is silent next to us
        await here.live(lambda _: len(here.told(RestartScheduled)) == 1)
        clock.advance(5)
        await here.live(lambda status: here.restarts == 1 and status.state == "ready")
        assert not Path(f"/proc/{frozen}").exists()


@pytest.mark.parametrize("hang", ["start", "metrics"])
async def test_a_child_that_stays_silent_is_replaced(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, hang: str
) -> None:
    """A child that never connects and never tells its URL is `edge_lost` after the start-up time, and replaced."""
    async with (
        ScriptedFake(tmp_path, {"connections": 0, "hang": hang}) as fake,
        world(lab, clock, tmp_path, connector=str(fake.path), port=origin.port) as here,
    ):
        await fake.next_run()
        await here.live(lambda _: len(here.told(ChildStarted)) == 1)
        clock.advance(50)
        await here.live(lambda status: (status.state, status.verdict) == ("starting", "starting"))
        clock.advance(10)
        await here.live(lambda status: status.verdict == "edge_lost")
        await here.live(lambda _: here.restarts == 0 and len(here.told(RestartScheduled)) == 1)
        clock.advance(5)
        await here.live(lambda _: here.restarts == 1)


async def test_a_name_that_changes_within_a_run_is_followed(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """A quick tunnel that gets another name later is reported, and probed under the new name without a new child."""
    api = TunnelSettings(local_addr=f"127.0.0.1:{origin.port}", cloudflare=CloudflareSettings(cloudflared_path="builtin"))
    async with (
        ScriptedFake(tmp_path, {"connections": 1}) as fake,
        world(lab, clock, tmp_path, connector=str(fake.path), port=origin.port, others={"api": api}) as here,
    ):
        run = await fake.next_run()
        await here.live(lambda status: bool(status.url) and here.of("api").state == "ready")
        old, new = here.status.url, here.of("api").url
        await run.send(f"rename {urlsplit(new).hostname}")
        await here.live(lambda status: status.url == new)
        await here.live(lambda _: any(fact.status == 200 for fact in here.told(Probed) if fact.tunnel == "web"))
        told = [fact.message for fact in here.told(Log) if fact.source == "prx" and fact.tunnel == "web"]
        assert sum(new in message and old in message for message in told) == 1
        assert sum(fact.tunnel == "web" for fact in here.told(ChildStarted)) == 1
