"""The supervision of a tunnel fails: it begins again after a pause, and what is asked for meanwhile is not forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.test_replicas import pids, replicas
from tests.e2e.world import World, world
from tests.support.origin import HostedOrigin
from tests.support.visitor import get

from prx.config.schema import Config, TunnelSettings
from prx.core import inputs
from prx.core.errors import PrxError, UsageError
from prx.core.events import ChildStarted, Log, StateChanged
from prx.lab import Lab
from prx.runtime.context import Shared
from prx.runtime.hooks import NoticeRunner
from prx.runtime.keeper import PAUSE
from prx.runtime.supervisor import Supervisor
from prx.testing.clock import ManualClock


def failing(*_: object) -> None:
    """Fail as a defect does."""
    raise RuntimeError("a defect")


async def fail(here: World, name: str = "web") -> None:
    """Have the supervision of a tunnel fail, and wait until its children have ended."""
    connector = here.supervisor._keepers[name].tunnel.connectors[0]
    connector.machine.handle = failing  # type: ignore[assignment,method-assign]
    connector.send(inputs.Woken("binary"))
    await here.live_until(lambda: here.of(name).state == "backoff" and here.of(name).retry_at is not None)


def watched(lab: Lab, origin: HostedOrigin) -> dict[str, TunnelSettings]:
    """Return a tunnel without a child, beside which another one can go."""
    url = f"http://127.0.0.1:{origin.port}/"
    return {"other": TunnelSettings(local_addr=f"127.0.0.1:{origin.port}", backend="none", public_url=url)}


def settings(here: World, **changes: object) -> TunnelSettings:
    """Return the settings of the tunnel "web", changed."""
    return replace(here.supervisor.config.tunnels["web"], **changes)  # type: ignore[arg-type]


def names(here: World) -> set[str]:
    """Return the tunnels that prx shows."""
    return {status.name for status in here.supervisor.statuses()}


async def stopped(here: World) -> None:
    """Stop the tunnel "web", and go on in the turn of the event loop in which its last child has ended."""
    idle = asyncio.Event()
    here.supervisor.bus.listen(lambda event: idle.set() if getattr(event.fact, "new", "") == "idle" else None)
    here.supervisor.stop("web")
    async with asyncio.timeout(10):
        await idle.wait()


async def test_it_begins_again_after_the_pause(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """Meanwhile the status says that it waits, and shows no connector; the URL works again after it."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        old = pids(here)
        await fail(here)
        assert here.status.connectors == ()
        assert here.status.retry_at == pytest.approx(clock.wall() + PAUSE, abs=1.0)
        assert here.status.reason.startswith("its supervision failed: RuntimeError: a defect")
        await here.leap(PAUSE - 2)
        assert here.status.state == "backoff"
        await here.live(lambda status: status.state == "ready" and not pids(here) & old)
        assert (await get(here.status.url)).status_code == 200


@pytest.mark.parametrize("ask", ["stop", "stop and kill", "removal", "stop and removal"])
async def test_a_stop_in_the_pause_stands(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, ask: str) -> None:
    """It takes effect at once, whatever it is that stops the tunnel, and nothing is started any more."""
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, others=watched(lab, origin)) as here:
        await here.live(lambda status: status.state == "ready")
        await fail(here)
        events, before = len(here.events), clock.monotonic()
        if "stop" in ask:
            here.supervisor.stop("web")
        if "kill" in ask:
            here.supervisor.kill()
        if "removal" in ask:
            here.supervisor.reload(Config(tunnels={"other": here.supervisor.config.tunnels["other"]}))
        for _ in range(10):
            await asyncio.sleep(0)
        assert "web" not in names(here) if "removal" in ask else here.status.state == "idle"
        assert clock.monotonic() == before
        clock.advance(2 * PAUSE)
        await asyncio.sleep(0.1)
        assert [event.fact for event in here.events[events:] if isinstance(event.fact, ChildStarted)] == []


async def test_a_stop_of_all_does_not_wait_for_the_pause(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """It ends at once if its one tunnel has nothing left that could be waited for."""
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port) as here:
        await here.live(lambda status: status.state == "ready")
        await fail(here)
        before = clock.monotonic()
        here.supervisor.stop()
        async with asyncio.timeout(10):
            while here.supervisor.names():  # noqa: ASYNC110 - within a few turns of the loop
                await asyncio.sleep(0)
        assert clock.monotonic() == before


def restarted(here: World) -> None:
    """Ask for a restart."""
    here.supervisor.restart("web")


def all_restarted(here: World) -> None:
    """Ask for a restart of all."""
    here.supervisor.restart()


def stopped_and_restarted(here: World) -> None:
    """Stop it, and think better of it."""
    here.supervisor.stop("web")
    here.supervisor.restart("web")


def changed(here: World) -> None:
    """Change its settings, its number of connectors among them."""
    web = settings(here)
    here.supervisor.reload(Config(tunnels={"web": replace(web, cloudflare=replace(web.cloudflare, replicas=2))}))


def removed_and_back(here: World) -> None:
    """Take it out of the configuration, and put it back."""
    whole = here.supervisor.config
    here.supervisor.reload(Config(tunnels={}))
    here.supervisor.reload(whole)


def renamed(here: World) -> None:
    """Call it by another name."""
    here.supervisor.reload(Config(tunnels={"shop": settings(here)}))


@pytest.mark.parametrize("ask", [restarted, all_restarted, stopped_and_restarted, changed, removed_and_back, renamed])
async def test_what_asks_for_the_tunnel_ends_the_pause(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, ask: Callable[[World], None]
) -> None:
    """A restart or a reload in the pause acts at once, as the configuration says now."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        await fail(here)
        ask(here)
        for _ in range(10):
            await asyncio.sleep(0)
        name, number = "shop" if ask is renamed else "web", 2 if ask is changed else 1
        assert here.of(name).state == "starting"
        await here.live_until(lambda: here.of(name).state == "ready" and len(here.of(name).connectors) == number)
        assert names(here) == {name}


def with_another_connector(here: World) -> None:
    """Change how many connectors there are to be."""
    web = settings(here)
    another = replace(web.cloudflare, replicas=5 - web.cloudflare.replicas)
    here.supervisor.reload(Config(tunnels={"web": replace(web, cloudflare=another)}))


@pytest.mark.parametrize("ask", [restarted, all_restarted, stopped_and_restarted, with_another_connector, removed_and_back])
async def test_what_is_asked_for_in_the_moment_of_the_failure_is_taken(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, ask: Callable[[World], None]
) -> None:
    """In each turn of the event loop, from before it fails until the pause: none is refused, and the pause is over at once."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=2) as here:
        keeper, before = here.supervisor._keepers["web"], clock.monotonic()
        connector = keeper.tunnel.connectors[0]
        connector.machine.handle = failing  # type: ignore[assignment,method-assign]
        connector.send(inputs.Woken("binary"))
        while keeper._takes_inputs:
            ask(here)
            await asyncio.sleep(0)
        ask(here)
        number = settings(here).cloudflare.replicas
        await here.live_until(lambda: here.status.state == "ready" and here.status.serving == number)
        assert clock.monotonic() - before < PAUSE
        await here.live_until(lambda: len(here.status.connectors) == number)


async def test_a_former_name_is_kept_while_the_supervision_of_the_new_one_fails(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """A renamed tunnel serves under its former name until the new one does, also over a pause of that one."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        renamed(here)
        await fail(here, "shop")
        await here.leap(PAUSE - 1)
        assert (here.status.state, here.of("shop").state) == ("ready", "backoff")
        await here.live_until(lambda: names(here) == {"shop"})
        assert here.of("shop").state == "ready"


async def test_a_new_name_does_not_stand_as_a_former_one_whose_supervision_has_failed(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """A renamed tunnel is up as long as its former connector serves; that one has ended with its supervision."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        renamed(here)
        assert here.of("shop").state == "ready"
        connector = here.supervisor._keepers["web"].tunnel.connectors[0]
        connector.machine.handle = failing  # type: ignore[assignment,method-assign]
        connector.send(inputs.Woken("binary"))
        await here.live_until(lambda: here.of("shop").state != "ready" or names(here) == {"shop"})
        assert here.of("shop").state == "starting"
        await here.live_until(lambda: names(here) == {"shop"} and here.of("shop").state == "ready")


async def test_a_supervision_that_cannot_begin_is_tried_again(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails again at its very beginning takes nothing else down, and comes up once it can."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        with monkeypatch.context() as short:
            short.setattr("prx.runtime.supervisor.Tunnel", failing)
            await fail(here)
            await here.leap(3 * PAUSE)
            assert here.status.state == "backoff"
        await here.live(lambda status: status.state == "ready")
        failures = [fact.message for fact in here.told(Log) if "its supervision failed" in fact.message]
        assert len(failures) == 4
        backoffs = [fact for fact in here.told(StateChanged) if fact.new == "backoff"]
        assert len(backoffs) == 1


async def test_a_tunnel_that_is_asked_for_while_it_is_taken_down_comes_up(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """Whatever the turn of the event loop: after its last child has ended, until nothing is left of its supervision."""
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, others=watched(lab, origin)) as here:
        for turn in range(24):
            await here.live(lambda status: status.state == "ready")
            await stopped(here)
            for _ in range(turn // 2):
                await asyncio.sleep(0)
            restarted(here) if turn % 2 else removed_and_back(here)


@pytest.mark.parametrize("turns", range(12))
async def test_what_comes_too_late_for_prx_itself_is_refused(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, turns: int
) -> None:
    """A restart just as prx ends with its last tunnel is carried out, or refused in words; it is never lost."""
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port) as here:
        await here.live(lambda status: status.state == "ready")
        await stopped(here)
        for _ in range(turns):
            await asyncio.sleep(0)
        refused = ""
        try:
            restarted(here)
        except PrxError as error:
            refused = error.message
        if not refused:
            await here.live(lambda status: status.state == "ready")
        assert refused in {"", "prx is ending: no tunnel was left that runs"}


async def test_a_restart_of_all_leaves_alone_what_is_being_removed(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """A tunnel that is not in the configuration any more finishes its last request, and does not come back."""
    async with (
        replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1, grace_period_secs=30.0) as here,
        asyncio.TaskGroup() as visitors,
    ):
        visit = visitors.create_task(get(f"{here.status.url}/slow"), name="visitor")
        await here.live(lambda _: origin.is_holding)
        here.supervisor.reload(Config(tunnels={}))
        await here.live(lambda status: status.state == "stopping")
        here.supervisor.restart()
        with pytest.raises(UsageError, match="web is not in the configuration any more"):
            here.supervisor.restart("web")
        origin.release()
        await here.live_until(lambda: names(here) == set())
        assert (await visit).status_code == 200


async def test_a_stop_before_the_tunnels_are_started_stands(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While prx still ends what an earlier one has left behind: the tunnel is shown as stopped, and a restart starts it."""
    build = Supervisor._build_shared

    def and_stop(self: Supervisor) -> Shared:
        self.stop("web")
        return build(self)

    monkeypatch.setattr(Supervisor, "_build_shared", and_stop)
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, others=watched(lab, origin)) as here:
        await here.live_until(lambda: here.of("other").state == "ready")
        assert here.supervisor.names() == ("other",)
        assert (here.status.state, here.told(ChildStarted)) == ("idle", [])
        here.supervisor.restart("web")
        await here.live(lambda status: status.state == "ready")


async def test_what_is_mended_while_prx_says_goodbye_is_taken(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tunnel can run, and prx still delivers the news of it: a configuration that works now keeps it from ending."""
    farewells: list[World] = []

    async def mend(_: NoticeRunner) -> None:
        farewells.append(here)
        web = settings(here)
        works = replace(web, cloudflare=replace(web.cloudflare, cloudflared_path="builtin"))
        here.supervisor.reload(Config(tunnels={"web": works}))
        await here.live(lambda status: status.state == "ready")

    monkeypatch.setattr(NoticeRunner, "farewell", mend)
    async with world(lab, clock, tmp_path, connector="/no/such/program", port=origin.port) as here:
        await here.live(lambda _: bool(farewells) and here.status.state == "ready")
        for _ in range(10):
            await asyncio.sleep(0)
        assert here.supervisor.names() == ("web",)
        assert (await get(here.status.url)).status_code == 200


@pytest.mark.parametrize("when", ["up", "in the pause", "draining", "before the start"])
async def test_a_stopped_tunnel_that_is_taken_out_is_shown_no_more(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Whenever it was stopped: `prx status` does not count it any more, and it is started if it comes back."""
    build = Supervisor._build_shared

    def and_stop(self: Supervisor) -> Shared:
        self.stop("web")
        return build(self)

    if when == "before the start":
        monkeypatch.setattr(Supervisor, "_build_shared", and_stop)
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, others=watched(lab, origin)) as here:
        both, other = here.supervisor.config, {"other": here.supervisor.config.tunnels["other"]}
        await here.live_until(lambda: here.of("other").state == "ready")
        if when != "before the start":
            await here.live(lambda status: status.state == "ready")
            if when == "in the pause":
                await fail(here)
            here.supervisor.stop("web")
            if when == "draining":
                for _ in range(1000):  # checked at each turn of the loop: nothing is in flight, and the drain is soon over
                    if here.status.state == "stopping":
                        break
                    await asyncio.sleep(0)
                assert here.status.state == "stopping"
            else:
                await here.live(lambda status: status.state == "idle")
        assert not here.status.wanted
        here.supervisor.reload(Config(tunnels=other))
        await here.live_until(lambda: names(here) == {"other"})
        here.supervisor.reload(both)
        await here.live_until(lambda: names(here) == {"other", "web"} and here.status.state == "ready")
