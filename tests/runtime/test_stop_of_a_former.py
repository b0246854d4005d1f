"""A stop of one tunnel, whose connector still serves what another one is to serve: that other one's visitors pay nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runtime.children import Stage, named, stage
from tests.runtime.test_succession_properties import apply, ended_well

from prx.core.events import StateChanged, UrlChanged
from prx.core.states import State
from prx.runtime.succession import HEIR_WITHIN

URL = "http://h0.localhost"  # which n0 has served, and n1 is to serve


@asynccontextmanager
async def exchanging(folder: Path, *, comes_up: bool) -> AsyncIterator[Stage]:
    """Run two tunnels that exchange what they serve, in the moment after that; whether the heir can come up."""
    program, late = folder / "old", folder / "late"
    program.touch(mode=0o755)
    async with stage(folder, {"n0": named("h0", program), "n1": named("h1", program)}) as here:
        await here.go_on(10)
        first, second = here.supervisor.config.tunnels.values()
        with_late = replace(first, cloudflare=replace(first.cloudflare, cloudflared_path=str(late)))
        apply(here, {"n0": second, "n1": first if comes_up else with_late})
        yield here


async def assert_served(here: Stage, seconds: float) -> None:
    """Hold that the URL is served all the time."""
    for _ in range(int(10 * seconds)):
        await here.go_on(0.1)
        assert any(child.url == URL and child.serves for child in here.children), here.story()


def stop(here: Stage, name: str) -> None:
    """Ask for a stop of one tunnel."""
    here.stopped.add(name)
    here.supervisor.stop(name)


def states(here: Stage, name: str, since: int) -> list[State]:
    """Return the states of a tunnel since event number `since`."""
    facts = [event.fact for event in here.events[since:]]
    return [fact.new for fact in facts if isinstance(fact, StateChanged) and fact.tunnel == name]


@pytest.mark.parametrize("after", [0.0, 0.3, 0.9, 1.1, 1.3, 1.6])
async def test_its_connector_serves_until_the_other_one_does(tmp_path: Path, after: float) -> None:
    """Whenever the stop comes, from the exchange until the heir is up: the URL is served, and the stopped one is down soon."""
    async with exchanging(tmp_path, comes_up=True) as here:
        await here.go_on(after)
        since = len(here.events)
        stop(here, "n0")
        await assert_served(here, 4)
        assert ended_well(here) == [], here.story()
        assert states(here, "n0", since) == [State.STOPPING, State.IDLE], here.story()
        told = [
            event.fact.url for event in here.events[since:] if isinstance(event.fact, UrlChanged) and event.fact.tunnel == "n0"
        ]
        assert told == []


async def test_one_that_has_been_leaving_for_long_waits_for_the_other_one_as_well(tmp_path: Path) -> None:
    """The program of the heir is there at last, and the stop comes before it is up."""
    async with exchanging(tmp_path, comes_up=False) as here:
        await here.go_on(30)
        (tmp_path / "late").touch(mode=0o755)
        stop(here, "n0")
        await assert_served(here, 8)
        assert ended_well(here) == [], here.story()


@pytest.mark.parametrize("then", ["nothing", "a second stop", "a stop of the other one", "a stop of all", "a kill"])
async def test_a_stop_is_not_held_up_for_long(tmp_path: Path, then: str) -> None:
    """The heir cannot come up: the connector is ended after a while, and at once if the stop is asked for again, or of both."""
    async with exchanging(tmp_path, comes_up=False) as here:
        await here.go_on(30)
        since = len(here.events)
        stop(here, "n0")
        await assert_served(here, 2)
        assert here.statuses["n0"].state is State.STOPPING
        match then:
            case "a second stop":
                stop(here, "n0")
            case "a stop of the other one":
                stop(here, "n1")
            case "a stop of all":
                here.supervisor.stop()
            case "a kill":
                here.supervisor.kill()
        await here.go_on(1.0 if then != "nothing" else HEIR_WITHIN)
        assert not [child for child in here.children if child.context.name == "n0"], here.story()
        assert states(here, "n0", since) == [State.STOPPING, State.IDLE]


async def test_a_stop_of_all_waits_for_no_heir(tmp_path: Path) -> None:
    """None of them is to serve what another one does, in whatever order they are asked."""
    async with exchanging(tmp_path, comes_up=True) as here:
        await here.go_on(0.3)
        here.supervisor.stop()
        await here.turn()
        assert [child for child in here.children if not child.is_asked_to_end] == []
        await here.go_on(2)
        assert here.has_ended()


@pytest.mark.parametrize("after", [0.0, 0.4, 2.0])
async def test_one_that_is_asked_for_again_comes_up(tmp_path: Path, after: float) -> None:
    """A restart while its former connector serves for the other tunnel: both are up in the end, and no visitor is lost."""
    async with exchanging(tmp_path, comes_up=True) as here:
        await here.go_on(0.3)
        stop(here, "n0")
        await assert_served(here, after)
        here.stopped.discard("n0")
        here.supervisor.restart("n0")
        await assert_served(here, 10)
        assert ended_well(here) == [], here.story()


async def test_one_that_is_taken_out_then_ends_no_sooner(tmp_path: Path) -> None:
    """A stopped tunnel that is taken out of the configuration, too: its connector still serves for the other one."""
    async with exchanging(tmp_path, comes_up=True) as here:
        await here.go_on(0.3)
        stop(here, "n0")
        await here.go_on(0.2)
        apply(here, {"n1": here.supervisor.config.tunnels["n1"]})
        await assert_served(here, 5)
        assert ended_well(here) == [], here.story()
