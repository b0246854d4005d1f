"""One tunnel's context: what a reload changes in it, and for whom."""

from __future__ import annotations

from pathlib import Path

from tests.runtime.contexts import shared

from prx.config.schema import TunnelSettings
from prx.core.events import Event, Phase
from prx.runtime.context import TunnelContext
from prx.testing.clock import ManualClock


async def test_a_reload_reaches_whoever_watches_the_child(tmp_path: Path) -> None:
    """Settings that do not concern the child are in force at once for all that hold its context."""
    context = TunnelContext.create("web", TunnelSettings(), shared(tmp_path, ManualClock()))
    held = context
    context.take(TunnelSettings(health_check_path="/health", health_check_expect="204"))
    assert (held.settings.health_check_path, held.policy.path, 204 in held.policy.expect) == ("/health", "/health", True)
    assert 200 not in held.policy.expect


async def test_a_child_that_is_replaced_keeps_its_context(tmp_path: Path) -> None:
    """The old child is judged to its end by what it was started with; the new one goes by the new settings."""
    old = TunnelContext.create("web", TunnelSettings(local_addr="127.0.0.1:1"), shared(tmp_path, ManualClock()))
    new = old.successor(TunnelSettings(local_addr="127.0.0.1:2"))
    assert (old.settings.origin_port, new.settings.origin_port) == (1, 2)
    assert (new.name, new.shared) == (old.name, old.shared)


async def test_each_phase_of_a_start_is_published_once(tmp_path: Path) -> None:
    """A phase has the time since the start began, and comes again only with the next start; a successor goes on counting."""
    clock = ManualClock()
    context = TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock))
    seen: list[Event] = []
    context.shared.bus.listen(seen.append)
    clock.advance(1.5)
    for current in (context, context, context.successor(TunnelSettings())):
        current.phases.reached("dns", "192.0.2.1")
    context.phases.restart()
    context.phases.reached("dns")
    facts = [event.fact for event in seen if isinstance(event.fact, Phase)]
    assert [(fact.phase, fact.elapsed_ms, fact.detail) for fact in facts] == [("dns", 1500.0, "192.0.2.1"), ("dns", 0.0, "")]
