"""One run of a child, from its start to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.runtime.contexts import shared
from tests.support.servers import Servers, answer

from prx.backends.base import LaunchContext, Readiness
from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core.errors import PermanentError
from prx.core.evidence import Evidence
from prx.runtime.context import TunnelContext
from prx.runtime.process.ports import draw_port
from prx.runtime.process.spawn import SpawnError
from prx.runtime.run import Run
from prx.testing.clock import ManualClock

READY = b'{"status":200,"readyConnections":4,"connectorId":"x"}'


@pytest.mark.parametrize(
    ("version", "error"),
    [("2026.8.2", SpawnError), ("2019.1.0", PermanentError)],
    ids=["no such program", "too old for prx"],
)
async def test_a_connector_that_could_not_be_started_counts_for_nothing(
    tmp_path: Path, version: str, error: type[Exception]
) -> None:
    """A failed start leaves no way of the tunnel behind, whose counters would be unknown for as long as prx runs."""
    settings = TunnelSettings(cloudflare=CloudflareSettings(cloudflared_path="/no/such/program"))
    context = TunnelContext.create("web", settings, shared(tmp_path, ManualClock()))
    run = Run(1, context, lambda _: None, "quic", 1)
    launch = LaunchContext(("/no/such/program",), version, 1, tmp_path / "config.yml", tmp_path, "quic")
    with pytest.raises(error):
        await run.start(launch)
    assert context.shared.ways._reads == {}


async def test_a_child_that_never_answers_is_asked_less_and_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of children that do nothing cost little: each is asked before its silence has doubled, and within 15 s."""
    clock = ManualClock()
    context = TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock))
    run = Run(1, context, lambda _: None, "quic", 1)
    asked: list[float] = []

    async def ask(*, quick_checks: bool) -> bool:
        asked.append(clock.monotonic())
        return False

    monkeypatch.setattr(run, "_ask_child", ask)
    began = clock.monotonic()
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(run.watch(), name="watch")
        await pass_time(clock, 300)
        assert [at - began for at in asked[:5]] == pytest.approx([1.0, 2.0, 3.5, 6.1, 10.8], abs=0.2)
        assert 20 < len(asked) < 30
        run._child.has_answered = True
        before = len(asked)
        await pass_time(clock, 60)
        watch.cancel()
    assert 44 < len(asked) - before < 62


async def test_a_silent_child_that_a_check_has_asked_is_not_asked_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks of a start ask a child that refuses as well: both together ask it no more often than they have to."""
    clock = ManualClock()
    run = Run(1, TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock)), lambda _: None, "quic", draw_port())
    asked: list[float] = []

    async def ask(*, quick_checks: bool) -> bool:
        assert not quick_checks
        asked.append(clock.monotonic())
        return False

    monkeypatch.setattr(run, "_ask_child", ask)
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(run.watch(), name="watch")
        for _ in range(30):
            await run._child.check_ready()
            await pass_time(clock, 1)
        assert asked == []
        await pass_time(clock, 60)
        watch.cancel()
    assert len(asked) >= 3


async def test_a_silent_child_is_asked_soon_after_the_last_check_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the checks lie between the questions: once there are no more, it is asked about 15 s after the last one."""
    clock = ManualClock()
    run = Run(1, TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock)), lambda _: None, "quic", draw_port())
    asked: list[float] = []

    async def ask(*, quick_checks: bool) -> bool:
        asked.append(clock.monotonic())
        return False

    monkeypatch.setattr(run, "_ask_child", ask)
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(run.watch(), name="watch")
        await pass_time(clock, 30)
        for lies in range(8):
            await pass_time(clock, 2 * lies)
            await run._child.check_ready()
            checked = clock.monotonic()
            await pass_time(clock, 17)
            assert next((at - checked for at in asked if at > checked), 0.0) > 14
        watch.cancel()


async def test_a_child_that_is_ready_is_asked_every_other_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end and its log are noticed at once; one that does not answer any more is asked every second."""
    clock = ManualClock(1000.3)
    run = Run(1, TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock)), lambda _: None, "quic", 1)
    asked: list[float] = []

    async def ask(*, quick_checks: bool) -> bool:
        asked.append(round(clock.monotonic(), 1))
        assert quick_checks or not run._observer.ready
        return False

    monkeypatch.setattr("prx.runtime.run.ANSWER_AT_HAND_AFTER", 0.0)
    monkeypatch.setattr(run, "_ask_child", ask)
    run._child.has_answered = True
    run._observer.see_readiness(clock.monotonic(), Readiness(4, ""))
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(run.watch(), name="watch")
        await pass_time(clock, 8)
        assert asked == [1002.0, 1004.0, 1006.0, 1008.0]
        run._observer.see_readiness(clock.monotonic(), None)
        await pass_time(clock, 4)
        assert 3 <= len(asked) - 4 <= 4
        watch.cancel()


async def test_the_counters_of_a_child_without_visitors_are_read_every_other_time(tmp_path: Path, servers: Servers) -> None:
    """They are read in place of the readiness then; with the first request that is counted, both are read each time."""
    requests, visitors = 7, 0
    paths: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        head = served.heads[-1]
        while True:
            requests += visitors
            path = head.split()[1].decode()
            paths.append(path)
            body = b"cloudflared_tunnel_total_requests %d\n" % requests if path == "/metrics" else READY
            writer.write(answer(200, body))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")

    served = await servers.start(serve)
    service = await servers.canned(b"")
    settings = TunnelSettings(local_addr=f"127.0.0.1:{service.port}")
    clock = ManualClock()
    run = Run(1, TunnelContext.create("web", settings, shared(tmp_path, clock)), lambda _: None, "quic", served.port)
    run.checker.url = "https://web.example"

    async def beats(count: int) -> list[str]:
        paths.clear()
        for _ in range(count):
            clock.advance(2.0)
            await run._ask_child(quick_checks=True)
        return list(paths)

    both = ["/ready", "/metrics"]
    assert await beats(2) == both * 2
    assert await beats(4) == ["/metrics", "/ready", "/metrics", "/ready"]
    visitors = 1
    assert await beats(3) == ["/metrics", *both, *both]


async def test_a_health_check_has_no_quick_check_ask_the_service(tmp_path: Path, servers: Servers) -> None:
    """The connector counts prx's own request like any other: a service without visitors gets one request an interval."""
    requests = 7

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = served.heads[-1]
        while True:
            body = b"cloudflared_tunnel_total_requests %d\n" % requests if b"/metrics" in head else READY
            writer.write(answer(200, body))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")

    served = await servers.start(serve)
    service = await servers.canned(answer(200, b"hello"))
    settings = TunnelSettings(local_addr=f"127.0.0.1:{service.port}")
    clock = ManualClock()
    run = Run(1, TunnelContext.create("web", settings, shared(tmp_path, clock)), lambda _: None, "quic", served.port)
    run.checker.url, run.checker.usual_ms = "https://web.example", 5.0
    for own in (0, 0, 1, 1, 1, 2, 2):
        requests, run.checker.asked = 7 + own, own
        await run.counters(max_age=0.0)  # as a health check reads them
        clock.advance(2.0)
        await run._ask_child(quick_checks=True)
    assert service.heads == []
    requests += 1
    clock.advance(4.0)
    await run._ask_child(quick_checks=True)
    assert len(service.heads) == 1


@pytest.mark.parametrize(
    ("error", "passes"),
    [(OSError(24, "no descriptor is left"), True), (RuntimeError("can't start new thread"), True), (KeyError("x"), False)],
    ids=["descriptors", "threads", "a defect"],
)
async def test_a_beat_whose_questions_fail_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, passes: bool
) -> None:
    """What the machine is short of is met at the next beat again; a defect ends the watch in its task, which reports it."""
    clock = ManualClock(1000.3)
    run = Run(1, TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock)), lambda _: None, "quic", 1)
    asked: list[float] = []
    strays: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: strays.append(context.get("exception")))

    def ask(**_: object) -> None:
        asked.append(round(clock.monotonic(), 1))
        raise error

    monkeypatch.setattr("prx.runtime.run.ANSWER_AT_HAND_AFTER", 0.0)
    monkeypatch.setattr(run._child, "ask_ahead", ask)
    run._child.has_answered = True
    run._observer.see_readiness(clock.monotonic(), Readiness(4, ""))
    watch = asyncio.create_task(run.watch(), name="watch")  # noqa: TID251 - it may fail, which is awaited below
    await pass_time(clock, 4)
    watch.cancel()
    with pytest.raises(asyncio.CancelledError if passes else KeyError):
        await watch
    assert sorted(set(asked)) == ([1002.0, 1004.0] if passes else [1002.0])
    assert strays == []


async def test_a_patient_check_begins_again_once_the_service_is_suspected(
    tmp_path: Path, servers: Servers, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that starts just after a service stopped would wait for it in vain, with the patience for one that is well."""
    clock = ManualClock()
    settings = TunnelSettings(local_addr=f"127.0.0.1:{unused_port}")
    child = await servers.canned(answer(200, READY))
    run = Run(1, TunnelContext.create("web", settings, shared(tmp_path, clock)), lambda _: None, "quic", child.port)
    run.checker.url = "https://web.example"
    run._observer.see_readiness(clock.monotonic(), Readiness(4, ""))
    patience: list[bool] = []
    waits = asyncio.Event()

    async def check(*, suspect: bool = False, **_: object) -> Evidence:
        patience.append(suspect)
        if not suspect:
            waits.set()
            await asyncio.Event().wait()
        return Evidence(at=clock.monotonic())

    monkeypatch.setattr(run.checker, "check", check)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        checking = group.create_task(run.check(), name="check")
        await waits.wait()
        await run._ask_child(quick_checks=True)
    assert checking.done()
    assert patience == [False, True]


@pytest.mark.parametrize("ready", [0, 4])
async def test_a_suspicion_outlives_the_connections(ready: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that was found wanting is not waited for for long, also if the connector is coming back meanwhile."""
    clock = ManualClock()
    run = Run(1, TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock)), lambda _: None, "quic", 1)
    run._observer.see_readiness(clock.monotonic(), Readiness(ready, ""))
    run._suspicion.set()
    patience: list[bool] = []

    async def check(*, suspect: bool = False, **_: object) -> Evidence:
        patience.append(suspect)
        return Evidence(at=clock.monotonic())

    monkeypatch.setattr(run.checker, "check", check)
    await run.check()
    assert patience == [True]


async def pass_time(clock: ManualClock, seconds: int) -> None:
    """Have so much time pass, tenth by tenth, with some turns of the loop for each: a beat asks, and then looks."""
    for _ in range(10 * seconds):
        for _ in range(4):
            await asyncio.sleep(0)
        clock.advance(0.1)
