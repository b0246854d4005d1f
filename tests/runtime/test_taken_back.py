"""A change that is taken back before it has come into effect: nothing differs any more, and what serves stays what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.children import REFUSED, Stage, named, stage, token
from tests.runtime.test_succession_properties import apply, ended_well, with_keys

from prx.core.events import ChildStarted, ConfigReloaded
from prx.core.evidence import ExitCause

MISSING = "missing"


def other_retries(here: Stage) -> None:
    """Change what a connector is started with."""
    with_keys(here, "n0", retries=7)


def another_service(here: Stage) -> None:
    """Serve another address."""
    tunnels = here.supervisor.config.tunnels
    apply(here, {**tunnels, "n0": replace(tunnels["n0"], local_addr="127.0.0.1:10")})


def another_tunnel(here: Stage) -> None:
    """Serve what another token says."""
    with_keys(here, "n0", token=token("h7"), hostname="h7.localhost")


def missing_program(here: Stage) -> None:
    """Name a program that is not there."""
    with_keys(here, "n0", cloudflared_path=str(here.folder / MISSING))


def refused_token(here: Stage) -> None:
    """Set a token that is refused."""
    with_keys(here, "n0", token=token("h0", REFUSED))


def two_changes(here: Stage) -> None:
    """Change one thing, and then another one."""
    missing_program(here)
    with_keys(here, "n0", cloudflared_path=str(here.folder / "old"), retries=8)


CHANGES = [other_retries, another_service, another_tunnel, missing_program, refused_token, two_changes]
CASES = [(change, seconds) for change in CHANGES for seconds in (0.0, 0.5)]
CASES += [(missing_program, 40.0), (refused_token, 40.0)]  # the others have come into effect by then


async def changed(here: Stage, change: Callable[[Stage], Any], seconds: float) -> None:
    """Change something, and take it back after so many seconds."""
    before = here.supervisor.config.tunnels
    change(here)
    await here.go_on(seconds)
    apply(here, dict(before))


def begin(folder: Path) -> Path:
    """Return the program of a tunnel, which is there."""
    program = folder / "old"
    program.write_text("old")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(("change", "seconds"), CASES)
async def test_the_connector_that_serves_stays(
    tmp_path: Path, change: Callable[[Stage], None], seconds: float, replicas: int
) -> None:
    """Whatever the change was, also if it could not work: the same children serve on, and no restart is counted for them."""
    async with stage(tmp_path, {"n0": named("h0", begin(tmp_path), replicas=replicas)}) as here:
        await here.go_on(10)
        before = list(here.children)
        await changed(here, change, seconds)
        await here.go_on(40)
        assert here.children == before, here.story()
        assert (ended_well(here), here.faults) == ([], []), here.story()
        reloads = [event.fact for event in here.events if isinstance(event.fact, ConfigReloaded)]
        assert not reloads[-1].restarted
        await here.go_on(400)
        assert here.children == before, here.story()


async def test_of_several_connectors_those_stay_that_were_not_replaced_yet(tmp_path: Path) -> None:
    """They are replaced one after another: one has the new settings by then, and changes back alone."""
    async with stage(tmp_path, {"n0": named("h0", begin(tmp_path), replicas=3)}) as here:
        await here.go_on(10)
        before = {child.context.connector: child for child in here.children}
        await changed(here, other_retries, 1.9)
        assert before[0] not in here.children or before[0].is_asked_to_end
        await here.go_on(40)
        assert [before[number] in here.children for number in range(3)] == [False, True, True], here.story()
        assert (ended_well(here), here.faults) == ([], []), here.story()


async def test_a_kept_connector_that_has_crashed_meanwhile_stays_as_well(tmp_path: Path) -> None:
    """It was started again as it was before, which is what is wanted again."""
    async with stage(tmp_path, {"n0": named("h0", begin(tmp_path))}) as here:
        await here.go_on(10)
        before = here.supervisor.config.tunnels
        missing_program(here)
        await here.go_on(5)
        here.children[0].end(ExitCause.CRASH, 9)
        await here.go_on(30)
        (again,) = here.children
        apply(here, dict(before))
        await here.go_on(40)
        assert here.children == [again], here.story()
        assert ended_well(here) == []


def restarted(here: Stage) -> None:
    """Ask for a restart."""
    here.supervisor.restart("n0")


def replaced_program(here: Stage) -> None:
    """Replace the program that runs."""
    (here.folder / "old").write_text(f"new at {here.clock.monotonic()}")


@pytest.mark.parametrize("order", ["before", "between"])
@pytest.mark.parametrize("wish", [restarted, replaced_program])
async def test_what_else_was_asked_for_is_done(tmp_path: Path, wish: Callable[[Stage], None], order: str) -> None:
    """A restart, or a program that was replaced, comes into effect although the settings are what they were."""
    async with stage(tmp_path, {"n0": named("h0", begin(tmp_path), replicas=2)}) as here:
        await here.go_on(10)
        before, old = here.supervisor.config.tunnels, list(here.children)
        if order == "before":
            wish(here)
        missing_program(here)
        await here.go_on(6)
        if order == "between":
            wish(here)
            await here.go_on(6)
        apply(here, dict(before))
        await here.go_on(60)
        assert not [child for child in here.children if child in old], here.story()
        assert (ended_well(here), here.faults) == ([], []), here.story()
        started = [event.fact for event in here.events if isinstance(event.fact, ChildStarted)]
        assert len(started) == 4, here.story()
