"""Quick checks of a healthy child and its service while no visitor comes, as plain callbacks that wait for nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.runtime.contexts import shared
from tests.support.servers import Served, Servers, answer

from prx.backends.base import Counters
from prx.config.schema import TunnelSettings
from prx.runtime.child_monitor import AGAIN_WITHIN, ANSWER_WITHIN
from prx.runtime.context import TunnelContext
from prx.runtime.health_check import SUSPECT_LIMIT
from prx.runtime.run import ANSWER_AT_HAND_AFTER, LOOK_AGAIN_AFTER, QUIET_EVERY, Run
from prx.testing.clock import ManualClock

SERVICE = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
SERVICE += "\nwhile True: s.accept()[0].close()"


class Child:
    """A connector's endpoints: what it was asked for, what it has counted, and whether it says anything."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.requests = self.failed = 0
        self.ready = 4
        self.speaks = True
        self.answered = asyncio.Event()
        self.served: Served | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection."""
        assert self.served is not None
        head = self.served.heads[-1]
        while head:
            path = head.split()[1].decode()
            self.asked.append(path)
            counters = f"cloudflared_tunnel_total_requests {self.requests}\ncloudflared_tunnel_request_errors {self.failed}\n"
            body = counters if path == "/metrics" else f'{{"status":200,"readyConnections":{self.ready},"connectorId":"x"}}'
            if self.speaks:
                writer.write(answer(200, body.encode()))
                await writer.drain()
            self.answered.set()
            head = await reader.readuntil(b"\r\n\r\n")


class Scene:
    """A run whose child is ready and whose service is well, and that no visitor uses."""

    def __init__(self, run: Run, child: Child, clock: ManualClock, service: int) -> None:
        self.run = run
        self.child = child
        self.clock = clock
        self.service = service
        self.noticed = 0

    async def ask(self) -> None:
        """Have child and service asked, and wait until the child has done what it does with that."""
        self.child.answered.clear()
        assert self.run._look() == ANSWER_AT_HAND_AFTER
        await self.child.answered.wait()


def halt(pid: int, number: int) -> None:
    """Send a signal that stops or ends a process, and wait until it has."""
    os.kill(pid, number)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


@pytest.fixture
def service() -> Iterator[tuple[int, int]]:
    """Yield the pid and port of a service that hangs up on each visitor."""
    with subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.send_signal(signal.SIGCONT)
        process.kill()


@pytest.fixture
async def scene(tmp_path: Path, servers: Servers, service: tuple[int, int]) -> AsyncIterator[Scene]:
    """Yield a quiet, healthy run."""
    clock, child = ManualClock(), Child()
    child.served = await servers.start(child.serve)
    settings = TunnelSettings(local_addr=f"127.0.0.1:{service[1]}")
    context = TunnelContext.create("web", settings, shared(tmp_path, clock))
    run = Run(1, context, lambda _: setattr(found, "noticed", found.noticed + 1), "quic", child.served.port)
    found = Scene(run, child, clock, service[0])
    run.checker.url = "https://web.example"
    for _ in range(3):
        clock.advance(2.0)
        await run._ask_child(quick_checks=True)
    assert run._quiet
    child.asked.clear()
    yield found
    run._child.close()


async def until_looked(scene: Scene) -> float | None:
    """Look until the look does not ask for another moment on a busy machine."""
    for _ in range(200):
        if (delay := scene.run._look()) != LOOK_AGAIN_AFTER:
            return delay
        scene.run._looked = False
        await asyncio.sleep(0)
    return LOOK_AGAIN_AFTER


def test_what_changes_is_seen_in_time() -> None:
    """Five seconds are promised, and half a second of them is left to the check that follows."""
    promised = 4.5
    assert promised >= QUIET_EVERY + ANSWER_WITHIN + AGAIN_WITHIN, "a child that is frozen"
    assert promised >= QUIET_EVERY + LOOK_AGAIN_AFTER + SUSPECT_LIMIT, "a service that is stopped"
    assert promised >= 2 * QUIET_EVERY, "errors that are counted: the counters are read every other time"


async def test_child_and_service_are_asked_on_the_beat(scene: Scene) -> None:
    """One question and one connection at a time; readiness and counters by turns; no check is asked for."""
    for _ in range(4):
        await scene.ask()
        delay = await until_looked(scene)
        assert delay is not None
        assert 0 < delay <= QUIET_EVERY * 1.1
        scene.clock.advance(delay)
    assert sorted(scene.child.asked) == ["/metrics", "/metrics", "/ready", "/ready"]
    assert scene.noticed == 0


async def test_a_child_that_falls_silent_is_given_a_moment_and_then_asked_for_certain(scene: Scene) -> None:
    """A look concludes nothing from a silence; what it leaves open counts as silence since the question."""
    scene.child.speaks = False
    await scene.ask()
    assert scene.run._look() == LOOK_AGAIN_AFTER
    assert scene.run._look() is None
    assert scene.run.ready == 4
    scene.clock.advance(1.5)

    async def pass_time() -> None:
        while scene.run.ready:
            scene.clock.advance(0.1)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        passing = group.create_task(pass_time(), name="time")
        assert await scene.run._ask_child(quick_checks=True)
        passing.cancel()
    assert scene.run.ready == 0


async def test_a_service_that_is_stopped_is_left_to_a_check(scene: Scene) -> None:
    """Its connection stays in the queue; the quick check that follows finds that, and makes no other."""
    halt(scene.service, signal.SIGSTOP)
    await scene.ask()
    assert scene.run._look() == LOOK_AGAIN_AFTER
    assert scene.run._look() is None
    assert await scene.run._ask_child(quick_checks=True)
    assert scene.run._quick_checks.suspect


async def test_a_service_that_is_gone_is_left_to_a_check(scene: Scene) -> None:
    """A connection that is refused is known at once."""
    halt(scene.service, signal.SIGKILL)
    assert scene.run._look() is None
    assert await scene.run._ask_child(quick_checks=True)


async def test_lost_connections_are_noticed_by_a_look(scene: Scene) -> None:
    """A child that answers that none is ready any more has lost them: a check is due."""
    scene.child.ready = 0
    while scene.noticed == 0:
        await scene.ask()
        assert scene.run._look() is not None or scene.noticed
        scene.run._looks = scene.run._looked = False
    assert scene.run.ready == 0


@pytest.mark.parametrize("kind", ["a request", "an error"])
async def test_visitors_end_the_quiet(scene: Scene, kind: str) -> None:
    """What was counted is judged as it is while visitors come: by a quick check."""
    scene.child.requests += kind == "a request"
    scene.child.failed += kind == "an error"
    while True:
        await scene.ask()
        counted = scene.child.asked[-1] == "/metrics"
        assert (await until_looked(scene) is None) is counted
        if counted:
            break
    await scene.run._ask_child(quick_checks=True)
    assert scene.run._quick_checks.failing is (kind == "an error")
    assert scene.run._quick_checks._counters == Counters(requests=scene.child.requests, request_errors=scene.child.failed)
