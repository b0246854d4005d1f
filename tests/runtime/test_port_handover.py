"""A fixed metrics port goes over last: that is the end of one replacement, and holds up none that comes up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runtime.children import Stage, named, stage, token
from tests.runtime.test_succession_properties import apply, ended_well, with_keys

from prx.core.events import ChildStarted
from prx.core.evidence import ExitCause

PORT = 20001


def restart(here: Stage) -> None:
    """Ask for a restart."""
    here.supervisor.restart("n0")


def change(here: Stage) -> None:
    """Change what a connector is started with."""
    with_keys(here, "n0", retries=7)


def rotate(here: Stage) -> None:
    """Change the token to another one of the same tunnel."""
    with_keys(here, "n0", token=token("h0", b"rotated"))


def upgrade(here: Stage) -> None:
    """Replace the program that runs."""
    (here.folder / "old").write_text("new")


def serve_another_address(here: Stage) -> None:
    """Serve another address."""
    tunnels = here.supervisor.config.tunnels
    apply(here, {**tunnels, "n0": replace(tunnels["n0"], local_addr="127.0.0.1:10")})


def program(folder: Path) -> Path:
    """Return a program that is there."""
    path = folder / "old"
    path.touch(mode=0o755)
    return path


def restarts(here: Stage) -> int:
    """Return how many starts are restarts, by the events; the status says the same."""
    found = [event.fact.restart for event in here.events if isinstance(event.fact, ChildStarted)].count(True)
    assert here.statuses["n0"].restarts == found
    return found


@pytest.mark.parametrize("act", [restart, change, rotate, upgrade, serve_another_address])
async def test_a_replacement_is_one_restart(tmp_path: Path, act: Callable[[Stage], None]) -> None:
    """Whatever led to it: the connector that only gets the port again is no restart of its own, each wish is one."""
    async with stage(tmp_path, {"n0": named("h0", program(tmp_path), metrics_port=PORT)}) as here:
        await here.go_on(10)
        act(here)
        await here.go_on(30)
        assert (restarts(here), here.started, [child.port for child in here.children]) == (1, 3, [PORT]), here.story()
        here.supervisor.restart("n0")
        await here.go_on(30)
        assert (restarts(here), here.started, [child.port for child in here.children]) == (2, 5, [PORT]), here.story()
        here.children[0].end(ExitCause.CRASH, 9)
        await here.go_on(30)
        assert (restarts(here), here.faults, ended_well(here)) == (3, [], []), here.story()


async def test_a_change_while_the_port_goes_over_is_a_restart(tmp_path: Path) -> None:
    """The connector that gets the port again takes the new settings, too: two replacements were asked for and are counted."""
    async with stage(tmp_path, {"n0": named("h0", program(tmp_path), metrics_port=PORT)}) as here:
        await here.go_on(10)
        restart(here)
        while here.started < 3:
            await here.go_on(0.1)
        change(here)
        await here.go_on(30)
        assert ([child.port for child in here.children], ended_well(here)) == ([PORT], []), here.story()
        assert restarts(here) == 2, here.story()


async def test_a_connector_that_comes_up_is_not_restarted_for_the_port(tmp_path: Path) -> None:
    """The former one has crashed, so that the port is free at once; visitors wait for the new one, which has another port."""
    async with stage(tmp_path, {"n0": named("h0", program(tmp_path), metrics_port=PORT)}) as here:
        await here.go_on(11.3)
        (old,) = here.children
        restart(here)
        await here.go_on(0.3)
        old.end(ExitCause.CRASH, 9)
        await here.go_on(0.8)  # a beat lies in between
        assert [child.serves for child in here.children] == [True], here.story()
        await here.go_on(30)
        assert ([child.port for child in here.children], ended_well(here)) == ([PORT], []), here.story()
