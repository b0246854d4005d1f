"""What the connectors of all tunnels count together never falls, whatever ends while it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime.children import Child, Stage, named, stage

from prx.backends.base import Counters
from prx.core.evidence import ExitCause

ENDS: dict[str, Callable[[Stage, Child], object]] = {
    "killed": lambda _, child: child.end(ExitCause.CRASH, 9),
    "ended by itself": lambda _, child: child.end(ExitCause.CRASH),
    "stopped": lambda here, _: here.supervisor.stop("app"),
    "restarted": lambda here, _: here.supervisor.restart("app"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_child_that_ends_while_another_tunnel_is_asked_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[Stage, Child], object]
) -> None:
    """Its requests are those of one that runs or of one that has ended: both at once would fall again at the next scrape."""
    program = tmp_path / "cloudflared"
    program.touch()
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def counters(self: Child, *, max_age: float) -> Counters:
        del max_age
        if self.context.name == "shop":
            asked.set()
            await go_on.wait()
        return Counters(requests=100)

    async with stage(tmp_path, {name: named(name, program) for name in ("app", "shop")}) as here:
        await here.go_on(5)
        monkeypatch.setattr(Child, "counters", counters)
        child = next(item for item in here.children if item.context.name == "app")
        found = asyncio.create_task(here.supervisor.counters(max_age=1.0))  # noqa: TID251 - awaited below
        await asked.wait()
        await here.turn()
        end(here, child)
        await here.go_on(2)
        assert child.is_over
        child.context.shared.keep_count("app", Counters(requests=100))  # as a real child does at its end
        go_on.set()
        of_app = (await found)["app"]
        assert sum(item.requests for item in of_app.values() if item is not None) == 100
