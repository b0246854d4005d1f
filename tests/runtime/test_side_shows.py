"""What a tunnel does now and then, or for others, may fail: it is reported, tried again, and ends nothing that serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.children import Child, Stage, named, stage
from tests.runtime.contexts import shared
from tests.runtime.test_succession_properties import apply, ended_well, with_keys

from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core import inputs
from prx.core.events import Log, StateChanged
from prx.core.evidence import ExitCause
from prx.core.states import State
from prx.runtime import succession
from prx.runtime.bulkhead import LONGEST_PAUSE
from prx.runtime.connector import Connector
from prx.runtime.fallen_back import FallenBack
from prx.runtime.handover import Heirs
from prx.runtime.outdated import Outdated
from prx.runtime.quic_return import QuicReturn
from prx.runtime.succession import Succession
from prx.runtime.surplus import Surplus
from prx.runtime.tunnel import Tunnel
from prx.testing.clock import ManualClock

URLS = {"http://h0.localhost", "http://h1.localhost"}
LATE = "late"  # a program that is not there yet


def defect(*_: Any, **__: Any) -> Any:
    """Fail as a defect does."""
    raise RuntimeError("a defect")


@contextmanager
def failing(owner: Any, name: str, *, after: int = 0) -> Iterator[None]:
    """Have a function fail after so many calls."""
    real, calls = getattr(owner, name), 0

    def fail_later(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        return real(*given, **more) if calls <= after else defect()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, fail_later)
        yield


def restart(here: Stage) -> None:
    """Have the connectors of a tunnel replaced."""
    here.supervisor.restart("n1")


def fewer(here: Stage) -> None:
    """Have a tunnel with fewer connectors."""
    with_keys(here, "n1", replicas=1)


def rename(here: Stage) -> None:
    """Call a tunnel by another name."""
    tunnels = here.supervisor.config.tunnels
    apply(here, {"n2": tunnels["n0"], "n1": tunnels["n1"]})


def exchange(here: Stage) -> None:
    """Have two tunnels exchange what they serve; the program of one is not there yet."""
    first, second = here.supervisor.config.tunnels.values()
    late = Path(first.cloudflare.cloudflared_path).with_name(LATE)
    apply(here, {"n0": second, "n1": replace(first, cloudflare=replace(first.cloudflare, cloudflared_path=str(late)))})


def lose_one(here: Stage) -> None:
    """Have one of two connectors end, whose program is not there any more."""
    (here.folder / "old").unlink()
    next(child for child in here.children if child.context.name == "n1").end(ExitCause.CRASH, 9)


def fall_back(here: Stage) -> None:
    """Have a connector count as one that has fallen back to HTTP/2."""
    tunnel = here.supervisor._keepers["n0"].tunnel
    tunnel._fallen_back._is_one = lambda connector: connector.machine.protocol != ""  # type: ignore[method-assign]
    tunnel.take_input(tunnel.connectors[0])


PLACES: dict[str, tuple[Any, str, int, Callable[[Stage], None]]] = {
    "a successor is to be started": (Tunnel, "start_beside", 0, restart),
    "a successor is compared": (succession, "_is_as_good", 0, restart),
    "a successor has taken over": (Succession, "dismiss", 0, restart),
    "the second of two is replaced": (Succession, "_succeed", 1, restart),
    "fewer connectors are asked": (Surplus, "_can_do_without", 0, fewer),
    "one that is not needed is ended": (Surplus, "_end", 2, fewer),
    "one that leaves is examined": (Succession, "_is_needed", 0, exchange),
    "a former name is examined": (Heirs, "awaited_by", 1, rename),
    "heirs are told": (Heirs, "tell", 0, rename),
    "a change is looked for": (Connector, "_watch_for_change", 0, lose_one),
    "what is outdated is looked for": (Outdated, "check", 0, restart),
    "a connector is examined for HTTP/2": (FallenBack, "check", 0, restart),
    "visitors are counted for QUIC": (FallenBack, "_visitors", 0, fall_back),
}


async def assert_served(here: Stage, seconds: int) -> None:
    """Hold that each URL is served all the time."""
    for _ in range(2 * seconds):
        await here.go_on(0.5)
        assert {child.url for child in here.children if child.serves} == URLS, here.story()


def prepare(folder: Path) -> dict[str, TunnelSettings]:
    """Return two tunnels whose program is there."""
    program = folder / "old"
    program.touch(mode=0o755)
    return {"n0": named("h0", program), "n1": named("h1", program, replicas=2)}


def said(here: Stage, words: str) -> list[str]:
    """Return the errors that hold these words."""
    logged = [event.fact for event in here.events if isinstance(event.fact, Log) and event.fact.level == "error"]
    return [fact.message for fact in logged if words in fact.message]


@pytest.mark.parametrize("place", PLACES)
async def test_a_defect_beside_what_serves_ends_nothing(tmp_path: Path, place: str) -> None:
    """Wherever it is met: each URL is served on, it is reported once for each place, and all is as wanted once it is over."""
    owner, name, after, act = PLACES[place]
    async with stage(tmp_path, prepare(tmp_path)) as here:
        await here.go_on(10)
        with failing(owner, name, after=after):
            act(here)
            await assert_served(here, int(QuicReturn.EVERY) + 10)
        assert 1 <= len(said(here, "a defect")) <= 4, said(here, "a defect")
        for program in ("old", LATE):
            if not (tmp_path / program).exists():
                (tmp_path / program).touch(mode=0o755)
        await assert_served(here, 2 * int(LONGEST_PAUSE) + 30)
        assert said(here, "its supervision failed") == []
        assert (ended_well(here), here.faults) == ([], []), f"{ended_well(here)} {here.faults}\n{here.story()}"


async def test_a_successor_whose_start_failed_half_way_does_not_keep_the_tunnel_from_ending(tmp_path: Path) -> None:
    """It runs by then, and is ended like any other; the next one takes the place."""
    async with stage(tmp_path, prepare(tmp_path)) as here:
        await here.go_on(10)
        tunnel, real = here.supervisor._keepers["n0"].tunnel, Tunnel._elect
        fails = [True]

        def elect_later(self: Tunnel) -> None:
            if fails and len(self.standings) > 1:
                fails.pop()
                defect()
            real(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tunnel, "_elect", elect_later)
            here.supervisor.restart("n0")
            await assert_served(here, 20)
        assert not fails
        assert (ended_well(here), len(tunnel.connectors)) == ([], 1), here.story()
        here.supervisor.stop("n0")
        await here.go_on(5)
        assert here.statuses["n0"].state is State.IDLE


@pytest.mark.parametrize("fails", ["its child", "what follows it", "the first of two"])
async def test_children_that_cannot_be_ended_take_no_other_tunnel_down(tmp_path: Path, fails: str) -> None:
    """A supervision fails, and so does the end of its children: prx goes on with the others, and begins this one again."""
    async with stage(tmp_path, prepare(tmp_path)) as here:
        await here.go_on(10)
        others = [child for child in here.children if child.context.name == "n0"]
        tunnel = here.supervisor._keepers["n1"].tunnel
        real, ended = Child.aclose, list[Child]()

        async def close(self: Child) -> None:
            ended.append(self)
            await real(self)
            if fails == "its child" or (fails == "the first of two" and len(ended) == 1):
                raise OSError(24, "Too many open files")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Child, "aclose", close)
            if fails == "what follows it":
                tunnel.formers.close = defect  # type: ignore[method-assign]
            tunnel.connectors[0].machine.handle = defect  # type: ignore[method-assign]
            tunnel.connectors[0].send(inputs.Woken("binary"))
            await here.go_on(3)
            assert (len(ended), here.has_ended()) == (2, False), here.story()
            await here.go_on(20)
        assert [child for child in here.children if child.context.name == "n0"] == others
        assert ended_well(here) == [], here.story()


async def test_a_new_name_that_cannot_show_itself_does_not_end_what_serves_for_it(tmp_path: Path) -> None:
    """The status of an heir fails: the connector that serves under the former name is another tunnel's, and goes on."""
    async with stage(tmp_path, prepare(tmp_path)) as here:
        await here.go_on(10)
        (serving,) = [child for child in here.children if child.context.name == "n0"]
        real = Tunnel.show

        def show(self: Tunnel, reason: str) -> None:
            if self.name == "n2":
                defect()
            real(self, reason)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tunnel, "show", show)
            rename(here)
            here.supervisor._keepers["n0"].tunnel.show("")
            await assert_served(here, 15)
            assert serving in here.children
            former = [event.fact for event in here.events if isinstance(event.fact, StateChanged) and event.fact.tunnel == "n0"]
            assert former[-1].new is State.READY
        await here.go_on(60)
        assert ended_well(here) == [], here.story()


def test_the_end_of_a_former_connector_is_told_to_each_heir(tmp_path: Path, manual_clock: ManualClock) -> None:
    """Of two heirs, one has the other show itself, which was stopped meanwhile: neither stands in the way of the other."""
    common = shared(tmp_path, manual_clock)
    named_one = TunnelSettings(cloudflare=CloudflareSettings(mode="named", hostname="app.localhost"))
    former, first, second = (Tunnel(name, named_one, common) for name in ("former", "first", "second"))
    first.formers.add(former.formers)
    second.formers.add(former.formers)
    second.formers.add(first.formers)
    second.is_wanted = False
    errors: list[Log] = []
    common.bus.listen(lambda event: errors.append(event.fact) if isinstance(event.fact, Log) else None)
    former.formers.close()
    assert errors == []
    assert (former.formers.heirs, first.formers.formers, second.formers.formers) == ([], [], [])


@pytest.mark.parametrize("place", ["_is_as_good", "dismiss"])
async def test_the_one_that_serves_stays_if_a_replacement_fails_half_way(tmp_path: Path, place: str) -> None:
    """The former connector has crashed by then: its successor is what visitors have, and gets the place."""
    async with stage(tmp_path, prepare(tmp_path)) as here:
        await here.go_on(10)
        (old,) = [child for child in here.children if child.context.name == "n0"]
        with failing(succession if place == "_is_as_good" else Succession, place):
            here.supervisor.restart("n0")
            await here.go_on(0.3)
            old.end(ExitCause.CRASH, 9)
            await here.go_on(1)
            await assert_served(here, 8)
        await assert_served(here, 2 * int(LONGEST_PAUSE))
        assert (ended_well(here), here.faults) == ([], []), here.story()
