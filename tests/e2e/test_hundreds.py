"""Hundreds of tunnels in one prx: when all fail at once it stays answerable, and they come back at a pace."""

import asyncio
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.e2e.prx_process import clean_environment, prx_start

from prx.control.client import Client

TUNNELS = 300
ASKED = 400

# As small as a client can be: it answers for its version, and then does nothing.
CLIENT = """#!/bin/sh
case "$*" in *--version*) echo "cloudflared version 2026.8.2 (built 2026)"; exit;; esac
exec sleep 3600
"""


def ask_often(socket: Path, times: int, pids: Iterable[int] = ()) -> float:
    """Kill `pids`, ask for the status again and again, each time on a new connection; return the 99th percentile in seconds."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    took = []
    for _ in range(times):
        began = time.monotonic()
        with Client(socket, timeout=20) as client:
            client.ask("status")
        took.append(time.monotonic() - began)
        select.select([], [], [], 0.02)  # the pace of a script that asks
    return sorted(took)[times * 99 // 100]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_the_control_socket_answers_while_hundreds_restart(tmp_path: Path) -> None:
    """300 children killed together: 99 of 100 answers within 100 ms and twice the calm time, and all come back, at a pace."""
    client = tmp_path / "cloudflared"
    client.write_text(CLIENT)
    client.chmod(0o700)
    child = f'cloudflared_path = "{client}"\ngrace_period_secs = 1\n'
    tables = [
        f'[tunnels.t{number}]\nlocal_addr = "127.0.0.1:{20000 + number}"\n[tunnels.t{number}.cloudflare]\n{child}'
        for number in range(TUNNELS)
    ]
    (tmp_path / "prx.toml").write_text("".join(tables))
    async with prx_start("--lab", environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
        await prx.first(lambda _: started(prx.events) == TUNNELS, "all started", within=90)
        pids = [event["pid"] for event in prx.events if event["event"] == "child_started"]
        (socket,) = (tmp_path / "data/run").glob("*.sock")
        calm = await asyncio.to_thread(ask_often, socket, 200)
        storm = await asyncio.to_thread(ask_often, socket, ASKED, pids)
        await prx.first(lambda _: started(prx.events) == 2 * TUNNELS, "all started again", within=90)
        assert await prx.stop(within=60) == 0
    assert storm < 2 * calm + 0.1, f"p99: calm {calm * 1000:.0f} ms, storm {storm * 1000:.0f} ms"


def started(events: list[dict[str, object]]) -> int:
    """Count the children that were started."""
    return sum(event["event"] == "child_started" for event in events)
