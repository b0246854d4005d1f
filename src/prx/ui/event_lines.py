"""What happened, in one line for people: events in, lines out. Pure."""

from __future__ import annotations

from prx.core import events
from prx.core.conditions import CONDITIONS
from prx.core.errors import with_hint
from prx.core.events import Event, Fact
from prx.core.states import State
from prx.core.value import Value, value_class
from prx.core.verdicts import summary
from prx.logs.text import printable
from prx.ui.text import seconds, whole_seconds

LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}
SERVICE = "service"  # source of the lines that the service started with `-- COMMAND` writes


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Line(Value):
    """One line of the story; `level` is debug, info, warn or error."""

    level: str
    text: str

    def shown_at(self, threshold: str) -> bool:
        """Return whether it is shown to a reader who wants `threshold` and above."""
        return LEVELS.get(self.level, 20) >= LEVELS[threshold]


def describe(event: Event, *, named: bool) -> Line | None:
    """Return the line for `event`; None if it says nothing that another one does not. `named` puts the tunnel first."""
    line = _line_of(event.fact)
    if line is None:
        return None
    prefix = f"{event.fact.tunnel}: " if named and event.fact.tunnel else ""
    return Line(line.level, printable(prefix + line.text))


def _line_of(fact: Fact) -> Line | None:
    match fact:
        case events.Phase(phase=phase, elapsed_ms=elapsed, detail=detail):
            more = f" ({detail})" if detail and phase != "verified" else ""  # `public at` follows with what is verified
            return Line("info", f"{phase} after {seconds(elapsed / 1000)}{more}")
        case events.UrlChanged():
            return _line_of_url(fact)
        case events.VerdictChanged(new=new, reason=reason, hint=hint):
            return Line(CONDITIONS[new].level, with_hint(summary(new, reason), hint))
        case events.RestartScheduled(delay=delay, attempt=attempt, costs_url=costs):
            number = f" (attempt {attempt})" if attempt else ""  # 0: it had run for long, or waits its turn
            when = f"next try in {whole_seconds(delay)}{number}" if delay else "restarting at once"
            return Line("warn", when + ("; the public URL will change" if costs else ""))
        case events.RestartCancelled(reason=reason):
            return Line("info", f"no restart is needed: {reason}")
        case events.StateChanged():
            return _line_of_state(fact)
        case events.ConfigReloaded(restarted=restarted):
            return Line("info", "configuration read again" + (", restarted for it" if restarted else ", nothing to restart"))
        case events.HookRan(hook=hook, ok=ok, tries=tries, detail=detail, kept=kept):
            how = "ran" if ok else f"failed after {tries} tries"
            how += ", and is tried again later" if kept else ""
            return Line("info" if ok else "warn", f"hook {hook} {how}" + (f": {detail}" if detail else ""))
        case events.Dropped(count=count):
            return Line("warn", f"{count} events were not shown: too many at once")
        case events.Log():
            return _line_of_log(fact)
        case _:
            return _line_of_child(fact)


def _line_of_url(fact: events.UrlChanged) -> Line:
    if fact.old and fact.old != fact.url:
        return Line("warn", f"the public URL has changed: {fact.old} is dead, the new one is {fact.url}")
    return Line(
        "info", f"public at {fact.url}" + ("" if fact.proven else " (connected, not proven: it could not be asked from here)")
    )


def _line_of_state(fact: events.StateChanged) -> Line | None:
    match fact.new:
        case State.STOPPING:
            return Line("info", "stopping" + (f": {fact.reason}" if fact.reason else ""))
        case State.FAILED:
            return Line("error", f"failed: {fact.reason}")
        case State.IDLE:
            return Line("info", "stopped")
        case _:  # ready, degraded, backoff, starting: the verdict and the next try say more
            return Line("debug", f"{fact.old} → {fact.new}" + (f": {fact.reason}" if fact.reason else ""))


def _line_of_child(fact: Fact) -> Line | None:
    match fact:
        case events.ChildStarted(pid=pid, version=version, protocol=protocol):
            return Line("debug", f"child {pid} started" + "".join(f", {part}" for part in (version, protocol) if part))
        case events.ChildExited(pid=pid, result=result, detail=detail):
            return Line("debug", f"child {pid} ended: {result}" + (f", {detail}" if detail else ""))
        case events.ConnectionRegistered(index=index, location=location, protocol=protocol):
            return Line("debug", f"connection {index} reached {location} over {protocol}")
        case events.ConnectionLost(index=index, reason=reason):
            return Line("debug", f"connection {index} lost" + (f": {reason}" if reason else ""))
        case _:
            return None


def _line_of_log(fact: events.Log) -> Line:
    if fact.source == "prx":
        return Line(fact.level, fact.message)
    if fact.source == SERVICE:
        return Line("info", f"{SERVICE} | {fact.message}")
    return Line("debug", f"{fact.source} | {fact.message}")  # the child's own words: at debug, whatever level it gave them
