"""How a tunnel stands, as far as the history needs it: its state, its verdict, and whether visitors reach the service."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from prx.core.states import State
from prx.core.verdicts import Verdict
from prx.history.records import Record

REACHABLE: Final = frozenset({Verdict.HEALTHY, Verdict.PROTECTED, Verdict.EDGE_REFUSED, Verdict.ACCESS_REJECTED})
"""The verdicts with which visitors get what they should: the service, or the login of Access before it.

`edge_refused` and `access_rejected` concern prx's own probe. `origin_error` is not among them: the tunnel is fine, and the
visitor gets an error of the service all the same.
"""

STOPPED: Final = frozenset({State.IDLE})
"""The states in which the operator wants no tunnel: that time is neither reachable nor lost."""

STOPPED_CAUSE: Final = "stopped"

STOPPING_CAUSE: Final = "stopping"
"""The connector was asked to end although all was well, and takes no more visitors: for a stop or a restart."""

_ON_THE_WAY: Final = frozenset({State.STARTING, State.BACKOFF, State.STOPPING})


def is_reachable(verdict: str) -> bool:
    """Return whether visitors reach the service under `verdict`."""
    return verdict in REACHABLE


@dataclass(frozen=True, slots=True)
class Standing:
    """A tunnel at one moment. An empty verdict means that none was given yet.

    old: the connector ends, or was started again, since the verdict was given.
    """

    state: str = State.STARTING.value
    verdict: str = ""
    reason: str = ""
    url: str = ""
    old: bool = False

    @property
    def cause(self) -> str:
        """What the time is put down to: "" if the tunnel is reachable, else a verdict, `stopped` or `stopping`.

        A good verdict stands until the next check: while the connector ends, and until its successor was checked, it is old.
        """
        if self.state in STOPPED:
            return STOPPED_CAUSE
        if self.verdict and not is_reachable(self.verdict):
            return self.verdict
        if self.verdict and not self.old:
            return ""
        return STOPPING_CAUSE if self.state == State.STOPPING else Verdict.STARTING.value

    @property
    def why(self) -> str:
        """The reason of the cause; empty if it is none of the verdict's own."""
        return self.reason if self.cause in {"", self.verdict} else ""

    def after(self, record: Record) -> Standing:
        """Return the standing after `record`, which concerns this tunnel."""
        match record["event"]:
            case "state_changed":
                new = str(record.get("new", ""))
                return Standing(state=new) if new in STOPPED else replace(self, state=new, old=new in _ON_THE_WAY)
            case "verdict_changed":
                return replace(self, verdict=str(record.get("new", "")), reason=str(record.get("reason", "")), old=False)
            case "url_changed":
                return replace(self, url=str(record.get("url", "")))
            case "snapshot":
                state, verdict, reason, url = (str(record.get(name, "")) for name in ("state", "verdict", "reason", "url"))
                return Standing(state, verdict, reason, url, state in _ON_THE_WAY)
            case _:
                return self

    def snapshot(self, tunnel: str, at: float) -> Record:
        """Return the record that `after` reads this standing from."""
        own = {"state": self.state, "verdict": self.verdict, "reason": self.reason, "url": self.url}
        return {"at": round(at, 3), "event": "snapshot", "tunnel": tunnel, **own}
