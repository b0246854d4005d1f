"""What people are to hear of a tunnel: that it has been in trouble for a while, that this is over, that its URL will change.

Theory of operation. A verdict becomes news when it has lasted: one that came about a ready tunnel has been kept back for its
`visible_after` already (`prx.core.display`); any other one is waited for here. All verdicts from the first bad one until the
tunnel has been well for `WELL_FOR` are one incident: each verdict that lasts is reported once, and the end once, with how long
it took. So a tunnel that comes and goes is reported once. The way up (`starting`, public DNS of a fresh name) is no trouble.
A tunnel that is stopped on purpose ends its incident without a notice. An incident that is `open` when prx ends is ended by the
next prx, as if there had been one alone; what still is wrong is reported by that one as well.

Times are wall-clock seconds since 1970 and come in as arguments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from prx.core import events
from prx.core.conditions import CONDITIONS
from prx.core.durations import in_whole_words
from prx.core.events import Fact, timestamp
from prx.core.states import State
from prx.core.verdicts import WELL, Verdict

LASTED: Final = 2.0
"""Seconds that a verdict must have lasted before it is news, if its `visible_after` is shorter."""

WELL_FOR: Final = 10.0
"""Seconds that a tunnel must have been well before its trouble is called over."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One piece of news: `event`, the tunnel, when, its public `data`, and `text`, one line or several for people."""

    event: str
    tunnel: str
    at: float
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def sent(self, *, late: bool, missed: int) -> Notice:
        """Return the notice as it is sent: it says if it comes `late`, and how many before it the receiver has `missed`."""
        more = [f"This was at {timestamp(self.at)}; it could not be delivered before."] if late else []
        more += [f"Notices before this one that could not be delivered: {missed}."] if missed else []
        data = {**self.data, "missed": missed} if missed else self.data
        return replace(self, text="\n".join([self.text, *more]), data=data) if more else self

    def to_json(self) -> bytes:
        """Return the form that commands find on stdin and servers in the request."""
        body = {"event": self.event, "timestamp": timestamp(self.at), "data": {"tunnel": self.tunnel, **self.data}}
        return json.dumps(body).encode() + b"\n"

    def variables(self) -> dict[str, str]:
        """Return what a command finds in its environment."""
        words = {name: str(self.data.get(name, "")) for name in ("verdict", "reason", "hint", "url")}
        named = {f"PRX_{name.upper()}": value for name, value in words.items()}
        return {"PRX_TUNNEL": self.tunnel, "PRX_EVENT": self.event, "PRX_TEXT": self.text, **named}


@dataclass(frozen=True, slots=True)
class Open:
    """An incident that was reported and is not over. since: when it began; verdicts: those that were reported."""

    since: float
    verdicts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Fault:
    """A verdict that is no good one. since: when it was first true; counted: from when on it must last to be news."""

    verdict: Verdict
    reason: str
    hint: str
    since: float
    counted: float


class Incidents:
    """The incidents of one tunnel. `due` is when `elapse` is to be called next; None if nothing is waited for.

    before: the incident that an earlier prx has left open.
    """

    def __init__(self, tunnel: str, before: Open | None = None) -> None:
        self.due: float | None = None
        self._tunnel = tunnel
        self._state = State.IDLE
        self._url = ""
        self._was_well = False
        self._fault: _Fault | None = None  # the present one
        self._began = None if before is None else before.since  # of the incident that was reported
        self._earlier = () if before is None else before.verdicts  # of it, which another prx has reported
        self._reported: list[str] = []  # its other verdicts
        self._well_at: float | None = None
        self._will_change = False

    def take(self, at: float, fact: Fact) -> list[Notice]:
        """Take in a fact about this tunnel; return what is to be reported at once."""
        match fact:
            case events.VerdictChanged():
                return self._on_verdict(at, fact)
            case events.StateChanged(new=new):
                self._state = new
                if new is State.IDLE:
                    self._forget()
            case events.UrlChanged(url=url) | events.UrlKnown(url=url):
                self._was_well = self._was_well and url == self._url  # of a fresh name it is not
                self._url, self._will_change = url, False
            case events.RestartScheduled(costs_url=True) if not self._will_change:  # each further try loses the same URL
                self._will_change = True
                return [self._warn(at, fact)]
            case events.RestartCancelled() if self._will_change:
                self._will_change = False
                return [
                    self._notice(
                        "url_kept", at, f"{self._tunnel}: the URL stays {self._url}: {fact.reason}", reason=fact.reason
                    )
                ]
        return []

    @property
    def open(self) -> Open | None:
        """The incident that was reported and is not over; None if there is none."""
        return None if self._began is None else Open(self._began, self._verdicts())

    def _verdicts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._earlier, *self._reported)))

    def move(self, by: float) -> None:
        """Take in that the wall clock was set `by` seconds ahead."""
        self.due, self._began, self._well_at = (
            None if at is None else at + by for at in (self.due, self._began, self._well_at)
        )
        if self._fault is not None:
            self._fault = replace(self._fault, since=self._fault.since + by, counted=self._fault.counted + by)

    def elapse(self, now: float) -> list[Notice]:
        """Take in that it is `now`; return what has become news."""
        if self.due is None or now < self.due:
            return []
        self.due = None
        if self._well_at is not None:
            return self._end(now)
        return self._report(now) if self._fault is not None else []

    # ------------------------------------------------------------------ verdicts

    def _on_verdict(self, at: float, fact: events.VerdictChanged) -> list[Notice]:
        if fact.new in WELL:
            self._was_well = True
            self._fault, self._well_at = None, at
            self.due = at + WELL_FOR if self._began is not None else None
            return []
        if fact.new is Verdict.STARTING or (fact.new is Verdict.DNS_PENDING and not self._was_well):
            if self._well_at is not None:  # it is on its way up again: its trouble is over once it has been well for long
                self._well_at = self.due = None
            return []
        kept_back = CONDITIONS[fact.new].visible_after if self._state is State.READY else 0.0
        same = self._fault is not None and self._fault.verdict is fact.new
        counted = self._fault.counted if same and self._fault is not None else at - kept_back
        since = self._fault.since if same and self._fault is not None else min(counted, at - fact.lasted)
        self._fault, self._well_at = _Fault(fact.new, fact.reason, fact.hint, since, counted), None
        if fact.new in self._reported:
            self.due = None
            return []
        if kept_back or fact.new.is_final:  # after a final one prx may end
            return self._report(at)
        self.due = counted + max(LASTED, CONDITIONS[fact.new].visible_after)
        return []

    def _report(self, now: float) -> list[Notice]:
        fault = self._fault
        assert fault is not None
        self.due = None
        self._began = fault.since if self._began is None else self._began
        self._reported.append(fault.verdict)
        hint = f"\n{fault.hint}" if fault.hint else ""
        title = CONDITIONS[fault.verdict].title
        return [
            self._notice(
                "trouble",
                now,
                f"{self._tunnel}: {title} ({fault.verdict}): {fault.reason}{hint}",
                verdict=fault.verdict,
                title=title,
                reason=fault.reason,
                hint=fault.hint,
                since=timestamp(fault.since),
            )
        ]

    def _end(self, now: float) -> list[Notice]:
        assert self._well_at is not None
        began = self._began if self._began is not None else self._well_at
        lasted = max(0.0, self._well_at - began)
        verdicts = list(self._verdicts())
        self._earlier, self._reported, self._began, self._well_at = (), [], None, None
        return [
            self._notice(
                "recovered",
                now,
                f"{self._tunnel}: all is well again, after {in_whole_words(lasted)} ({', '.join(verdicts)})",
                since=timestamp(began),
                lasted_secs=round(lasted, 1),
                verdicts=verdicts,
            )
        ]

    def _warn(self, at: float, fact: events.RestartScheduled) -> Notice:
        when = f"in {in_whole_words(fact.delay)}" if fact.delay else "now"
        text = f"{self._tunnel}: {self._url or 'the URL'} will be replaced by a new URL {when}: {fact.reason}"
        return self._notice("url_will_change", at, text, reason=fact.reason, in_secs=fact.delay)

    def _forget(self) -> None:
        self.due, self._fault, self._well_at, self._began, self._earlier, self._reported = None, None, None, None, (), []
        self._was_well = self._will_change = False

    def _notice(self, event: str, at: float, text: str, **data: Any) -> Notice:
        return Notice(event, self._tunnel, at, text, {"url": self._url, **data})
