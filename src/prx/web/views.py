"""What a template shows of one tunnel: everything decided and put into words here, so that templates hold no logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from prx.control.messages import Message
from prx.core.conditions import CONDITIONS
from prx.core.flapping import WORTH_SAYING
from prx.core.states import State
from prx.core.traffic import WINDOW_SECONDS, TrafficStatus
from prx.core.verdicts import ACTIONS, Action, Verdict
from prx.history.spans import Span
from prx.logs.text import printable
from prx.ui.text import seconds
from prx.ui.why_lines import why_rows
from prx.web.hub import Seen
from prx.web.past import Past
from prx.web.pictures import Chart, Segment, bar, chart

_STATES: Final = {
    "idle": "stopped",
    "starting": "starting",
    "ready": "up",
    "degraded": "with a fault",
    "backoff": "waiting to start again",
    "stopping": "stopping",
    "failed": "failed",
}

ACTION_WORDS: Final = {
    Action.WAIT: "waits: it comes by itself",
    Action.NONE: "nothing",
    Action.REPORT: "reports it, and leaves the tunnel alone",
    Action.RESTART: "starts the connector again",
    Action.RESTART_RATE_LIMITED: "starts it again, after a long wait",
    Action.FAIL: "stops for good: something must be changed first",
}

_MAY_REPLACE: Final = frozenset({Verdict.EDGE_LOST, Verdict.UNREACHABLE, Verdict.UDP_BLOCKED})


def does(verdict: Verdict) -> str:
    """Return what prx does about a verdict."""
    more = "; replaces the connector if a fresh one would get through" if verdict in _MAY_REPLACE else ""
    return f"{ACTION_WORDS[ACTIONS[verdict]]}{more}"


@dataclass(frozen=True, slots=True)
class TunnelView:
    """One tunnel. Texts are printable, times seconds since 1970; `tone` is ok, wait, warn, bad or off."""

    id: str
    prx: str
    name: str
    local_addr: str
    tone: str
    state: str
    verdict: str
    title: str
    reason: str
    hint: str
    url: str
    proven: bool
    temporary: bool
    since: float | None
    restarts: int
    attempt: int
    retry_at: float | None
    connectors: tuple[Mapping[str, Any], ...]
    probe: str
    gone: str
    traffic: str
    flaps: str
    percent: float | None
    bar: list[Segment]
    chart: Chart | None

    @property
    def path(self) -> str:
        """Return the path of its own page."""
        return f"/tunnels/{quote(self.prx, safe='')}/{quote(self.name, safe='')}"

    def action(self, do: str) -> str:
        """Return the path to POST to, for `restart` or `stop`."""
        return f"/api/v1/tunnels/{quote(self.name, safe='')}/{do}?prx={quote(self.prx, safe='')}"

    @property
    def outages(self) -> list[Segment]:
        """Return the times without the tunnel, newest first."""
        return [item for item in self.bar if item.kind not in {"up", "stopped", "unwatched"}][::-1][:50]


def view(seen: Seen, tunnel: Message, past: Past, *, with_chart: bool) -> TunnelView:
    """Return what is shown of `tunnel`, one of `seen`'s, with what the history says of it."""
    name, verdict = _text(tunnel, "name"), _text(tunnel, "verdict")
    report = past.of(seen.key, name)
    since, until = past.report.since, past.report.until
    spans: list[Span] = report.timeline if report else []
    windows = past.latencies(seen.key, name) if with_chart else []
    wait = tunnel.get("next_retry_in")
    return TunnelView(
        id=f"{seen.key}--{name}",
        prx=seen.key,
        name=name,
        local_addr=_text(tunnel, "local_addr"),
        tone=_tone(seen, tunnel),
        state=_STATES.get(_text(tunnel, "state"), _text(tunnel, "state")),
        verdict=verdict,
        title=_title(seen, tunnel),
        reason=_text(tunnel, "reason"),
        hint=_text(tunnel, "hint"),
        url=_url(tunnel),
        proven=bool(tunnel.get("proven")),
        temporary=tunnel.get("mode") == "quick",
        since=_moment(tunnel.get("since")),
        restarts=_count(tunnel, "restarts"),
        attempt=_count(tunnel, "attempt"),
        retry_at=seen.asked_at + wait if isinstance(wait, int | float) and seen.gone_at is None else None,
        connectors=_connectors(tunnel),
        probe=_probe(tunnel),
        gone=_gone(seen),
        traffic=_traffic(tunnel),
        flaps=_flaps(tunnel),
        percent=report.percent if report else None,
        bar=bar(spans, since, until),
        chart=chart(windows, since, until),
    )


def _tone(seen: Seen, tunnel: Message) -> str:
    state, verdict = tunnel.get("state"), tunnel.get("verdict")
    if seen.gone_at is not None or state in {State.IDLE, State.STOPPING}:
        return "off"
    if state in {State.FAILED, State.BACKOFF}:
        return "bad"
    action = ACTIONS[Verdict(verdict)] if verdict in tuple(Verdict) else Action.WAIT
    if verdict in {Verdict.EDGE_LOST, Verdict.UNREACHABLE, Verdict.OFFLINE}:
        return "bad"
    return {Action.NONE: "ok", Action.WAIT: "wait"}.get(action, "warn")


def _title(seen: Seen, tunnel: Message) -> str:
    if seen.gone_at is not None:
        return "prx does not answer" if seen.silent else "prx is not running"
    state, verdict = tunnel.get("state"), tunnel.get("verdict")
    if state in {State.IDLE, State.STOPPING} or verdict not in tuple(Verdict):
        return _STATES.get(str(state), str(state))
    return CONDITIONS[Verdict(verdict)].title


def _gone(seen: Seen) -> str:
    """Return what is to be said of the prx as a whole; empty while it answers."""
    if seen.gone_at is None:
        return ""
    if seen.silent:
        return f"It has not answered since {clock(seen.gone_at)}. What stands here is older; how it is now is not known."
    return f"It ended at {clock(seen.gone_at)}, and its tunnels with it. What stands here is how it was before."


def _connectors(tunnel: Message) -> tuple[Mapping[str, Any], ...]:
    found = tunnel.get("connectors")
    return tuple(item for item in found if isinstance(item, dict)) if isinstance(found, list) else ()


def _probe(tunnel: Message) -> str:
    probe = tunnel.get("last_probe")
    if not isinstance(probe, dict):
        return ""
    status, latency, at = probe.get("status"), probe.get("latency_ms"), _moment(probe.get("at"))
    words = f"answered {status}" if status else "no answer"
    took = f" after {latency:.0f} ms" if isinstance(latency, int | float) else ""
    return words + took + (f" at {clock(at)}" if at else "")


def _traffic(tunnel: Message) -> str:
    """Return "12 requests · 1 error in 5 min, 3 in the last one"; empty if it is not known."""
    found = tunnel.get("traffic")
    if not isinstance(found, dict) or tunnel.get("state") not in {State.READY, State.DEGRADED}:
        return ""
    counts = {name: found.get(name) for name in ("requests", "errors", "per_minute")}
    known = TrafficStatus(**{name: value if isinstance(value, int) else 0 for name, value in counts.items()})
    return f"{known.words()} in {WINDOW_SECONDS / 60:.0f} min" + (
        f", {known.per_minute} in the last one" if known.per_minute else ""
    )


def _flaps(tunnel: Message) -> str:
    count = _count(tunnel, "flaps")
    return f"It comes and goes: well, then not, {count} times within the last hour" if count >= WORTH_SAYING else ""


def story(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return what `prx why` says of a tunnel: labels with printable texts."""
    return [(label, [printable(text) for text in texts]) for label, texts in why_rows(found) if texts]


def _url(tunnel: Message) -> str:
    url = _text(tunnel, "url")
    return url if url.startswith(("https://", "http://")) else ""  # it becomes a link


def _text(tunnel: Message, name: str) -> str:
    value = tunnel.get(name)
    return printable(value) if isinstance(value, str) else ""


def _count(tunnel: Message, name: str) -> int:
    value = tunnel.get(name)
    return value if isinstance(value, int) else 0


def _moment(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def clock(at: float) -> str:
    """Return a time of day as the machine's own clock shows it, with the date: "28 Nov 22:31:05"."""
    return datetime.fromtimestamp(at).astimezone().strftime("%d %b %H:%M:%S").lstrip("0")


def moment(text: str, now: float) -> str:
    """Return the time of a record (as in JSON) as `clock` does, without the date of `now`; text that is none is kept."""
    at = _parsed(text)
    if at is None:
        return text[:19]
    today = datetime.fromtimestamp(now).astimezone().date()
    return at.strftime("%H:%M:%S") if at.date() == today else clock(at.timestamp())


def time_of_day(text: str) -> str:
    """Return the time of a record (as in JSON) to a millisecond by the machine's own clock; text that is none is kept."""
    at = _parsed(text)
    return text[11:23] if at is None else at.isoformat(timespec="milliseconds")[11:23]


def zone() -> str:
    """Return what the zone of the machine's own clock is called."""
    return datetime.now().astimezone().strftime("%Z")


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return None


def span(value: float) -> str:
    """Return a time span in words, without fractions of a second."""
    return "a moment" if value < 1 else seconds(max(10.0, value)) if value >= 10 else f"{value:.0f} s"
