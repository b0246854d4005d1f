"""Facts that prx publishes: one frozen class per fact.

Logs, status, metrics, terminal and dashboard are renderings of these. A fact names its tunnel; the bus adds a sequence number
without gaps and the wall-clock time, which makes it an `Event`. The names and fields of the JSON form are public.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar

from prx.core.states import State
from prx.core.value import Value, value_class
from prx.core.verdicts import NoVerdict, Verdict


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Fact(Value):
    """Something that happened to the tunnel called `tunnel` (empty: to prx itself)."""

    name: ClassVar[str]
    tunnel: str


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class StateChanged(Fact):
    """The tunnel went from state `old` to `new`."""

    name: ClassVar[str] = "state_changed"
    old: State
    new: State
    reason: str


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class VerdictChanged(Fact):
    """The diagnosis changed; `old` is empty for the first one. `serving`: how many of the tunnel's connectors serve.

    `lasted`: for how many seconds it had been seen so before it was published; 0 if that is not known.
    """

    name: ClassVar[str] = "verdict_changed"
    old: Verdict | NoVerdict
    new: Verdict
    reason: str
    hint: str = ""
    serving: int = 0
    lasted: float = 0.0


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class UrlChanged(Fact):
    """A new public URL has been verified. `old` is the one verified before it, or empty.

    `proven` is false if the URL is known and connected, and could not be proven from this machine.
    """

    name: ClassVar[str] = "url_changed"
    url: str
    old: str
    proven: bool = True


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class UrlKnown(Fact):
    """The connector has reported its public URL, which nothing has proven yet."""

    name: ClassVar[str] = "url_known"
    url: str


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class ChildStarted(Fact):
    """A child runs: its pid, its version as it says it, and which connector of the tunnel it is (counted from 0).

    restart: it takes the place of an earlier one; false for the first child of a connector, also of one that a reload adds.
    """

    name: ClassVar[str] = "child_started"
    pid: int
    version: str
    connector: int
    protocol: str = ""
    restart: bool = False


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class ChildExited(Fact):
    """A child ended with an exit code or by a signal.

    `result` is why: "clean" (asked, or to be started again), "timeout" (asked, and killed: its grace was over), "signal",
    "permanent" (it cannot work as it is set up) or "crash". `cause` says more (see `ExitCause`), `detail` its own last words.
    """

    name: ClassVar[str] = "child_exited"
    pid: int
    code: int | None
    signal: int | None
    result: str
    cause: str = ""
    detail: str = ""
    connector: int = 0


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class ConnectionRegistered(Fact):
    """Connection `index` of the connector (its number in the tunnel, and its pid) reached the edge at `location`."""

    name: ClassVar[str] = "connection_registered"
    index: int
    location: str
    protocol: str
    connector: int = 0
    pid: int = 0


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class ConnectionLost(Fact):
    """Connection `index` of the connector is gone."""

    name: ClassVar[str] = "connection_lost"
    index: int
    reason: str = ""
    connector: int = 0
    pid: int = 0


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Phase(Fact):
    """A step of the way up was reached: spawned, url, connected, dns, verified; `elapsed_ms` since the start of the child."""

    name: ClassVar[str] = "phase"
    phase: str
    elapsed_ms: float
    detail: str = ""


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Probed(Fact):
    """The public URL was asked: HTTP status (None: no answer), the time it took, and the verdict of the whole round."""

    name: ClassVar[str] = "probe"
    status: int | None
    latency_ms: float | None
    verdict: Verdict
    error: str = ""


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class RestartScheduled(Fact):
    """The child will be started again in `delay` seconds, as attempt number `attempt`.

    `verdict`: that of the connector alone, which may not be the tunnel's. `costs_url`: that will change the public URL. While a
    child lives it is watched during the wait, and kept if it comes back.
    """

    name: ClassVar[str] = "restart_scheduled"
    delay: float
    attempt: int
    reason: str
    costs_url: bool = False
    connector: int = 0
    verdict: Verdict | NoVerdict = ""


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class RestartCancelled(Fact):
    """The child that was to be replaced has come back, or a restart cannot help any more; `attempt` counts as before."""

    name: ClassVar[str] = "restart_cancelled"
    attempt: int
    reason: str
    connector: int = 0


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class AttemptsForgotten(Fact):
    """The next failure starts with the shortest wait again: the tunnel stayed ready for `after` seconds.

    0 seconds: the user asked for a restart, or the world changed (network, configuration, token or binary).
    """

    name: ClassVar[str] = "attempts_forgotten"
    after: float


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Log(Fact):
    """A line of log: prx's own (`source` "prx") or the child's, at its own level, redacted."""

    name: ClassVar[str] = "log"
    level: str
    message: str
    source: str = "prx"
    kind: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Traffic(Fact):
    """What visitors asked for: the last minutes (`prx.core.traffic`), and what is new since the last fact of this kind."""

    name: ClassVar[str] = "traffic"
    requests: int
    errors: int
    per_minute: int
    new_requests: int
    new_errors: int


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class HookRan(Fact):
    """A hook was run, for a new URL or a piece of news: did it work, after how many tries? kept: it is tried again later."""

    name: ClassVar[str] = "hook"
    hook: str
    ok: bool
    tries: int
    detail: str = ""
    kept: bool = False


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class ConfigReloaded(Fact):
    """The configuration was read again; `restarted` says whether the child had to be started again for it."""

    name: ClassVar[str] = "config_reloaded"
    restarted: bool


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Dropped(Fact):
    """A subscriber was too slow and missed `count` events."""

    name: ClassVar[str] = "dropped"
    count: int


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Event(Value):
    """A fact with its place in the sequence and its wall-clock time in seconds since 1970."""

    seq: int
    at: float
    fact: Fact

    def to_json(self) -> dict[str, Any]:
        """Return the public form: `seq`, `at` (RFC 3339, UTC), `tunnel`, `event`, then the fact's own fields."""
        own = {item.name: _plain(getattr(self.fact, item.name)) for item in fields(self.fact) if item.name != "tunnel"}
        return {"seq": self.seq, "at": timestamp(self.at), "tunnel": self.fact.tunnel, "event": self.fact.name, **own}


def timestamp(at: float) -> str:
    """Write seconds since 1970 as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
