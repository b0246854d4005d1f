"""A fixed metrics port belongs to one child at a time, and is free again whatever becomes of that child."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.runtime.contexts import shared

from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core import effects
from prx.core.errors import PrxError
from prx.core.events import Event, Log
from prx.runtime import child_start
from prx.runtime.client_program import ClientProgram
from prx.runtime.context import TunnelContext
from prx.runtime.origin_trust import OriginTrust
from prx.runtime.role import Role
from prx.runtime.run import Run
from prx.testing.clock import ManualClock

FIXED = 20241


def a_context(folder: Path, mode: Literal["quick", "named"] = "quick") -> TunnelContext:
    """Return a tunnel with a fixed port, whose program ends at once."""
    settings = TunnelSettings(cloudflare=CloudflareSettings(mode=mode, metrics_port=FIXED, cloudflared_path="/bin/true"))
    return TunnelContext.create("web", settings, shared(folder, ManualClock()))


@pytest.mark.parametrize("place", ["needed_environment", "LaunchContext", "Run", "oom_kills", "the program"])
async def test_a_start_that_fails_leaves_the_port_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Wherever it breaks off: a port that no child has would keep a quick tunnel down for as long as prx runs."""
    context = a_context(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise MemoryError

    async def say(*_: Any) -> str:
        return "cloudflared version 2026.9.3"

    monkeypatch.setattr(ClientProgram, "ask_version", say)
    if place == "the program":
        monkeypatch.setattr("prx.runtime.process.child.ChildProcess.spawn", refuse)
    else:
        monkeypatch.setattr(f"prx.runtime.{'run' if place == 'oom_kills' else 'child_start'}.{place}", refuse)
    spawn = effects.Spawn(1, "http2")
    with pytest.raises(MemoryError):
        await child_start.start_child(spawn, context, ClientProgram(None), OriginTrust(), send=lambda _: None, role=Role())
    assert not context.shared.ports.is_held(FIXED)


def test_a_port_that_is_drawn_is_not_the_one_that_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connector that has it may not listen yet: the end of the new one would be taken for the end of that."""
    context, drawn = a_context(tmp_path, "named"), iter([FIXED, FIXED, 31000])
    monkeypatch.setattr(child_start, "draw_port", lambda: next(drawn))
    assert child_start._choose_port(context) == FIXED
    assert context.shared.ports.take(FIXED)
    port = child_start._choose_port(context)
    assert port == 31000
    run = Run(2, context, lambda _: None, "http2", port)
    run._close()
    assert context.shared.ports.is_held(FIXED)


@pytest.mark.parametrize("ends", [True, False], ids=["it ends", "the tunnel is stopped"])
async def test_a_quick_tunnel_says_that_it_waits_for_its_port(tmp_path: Path, ends: bool) -> None:
    """Its port may be that of a connector of another tunnel that serves on: the log has it, and a stop ends the wait."""
    context, program, events = a_context(tmp_path), ClientProgram(None), list[Event]()
    context.shared.bus.listen(events.append)
    assert context.shared.ports.take(FIXED)
    asked = asyncio.create_task(program.ask_version(context, ("/bin/true",)))  # noqa: TID251 - awaited below
    while not events:  # noqa: ASYNC110 - within a few turns of the loop
        await asyncio.sleep(0)
    assert [str(FIXED) in event.fact.message for event in events if isinstance(event.fact, Log)] == [True]
    assert not asked.done()
    if ends:
        context.shared.ports.free(FIXED)
        await asked
    else:
        program.give_up()
        with pytest.raises(PrxError, match="asked to stop"):
            await asked
