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


def is_reachable(verdict: str) -> bool:
    """Return whether visitors reach the service under `verdict`."""
    return verdict in REACHABLE


@dataclass(frozen=True, slots=True)
class Standing:
    """A tunnel at one moment. An empty verdict means that none was given yet."""

    state: str = State.STARTING.value
    verdict: str = ""
    reason: str = ""
    url: str = ""

    @property
    def cause(self) -> str:
        """What the time is put down to: "" if the tunnel is reachable, else a verdict, or `stopped`."""
        if self.state in STOPPED:
            return "stopped"
        if is_reachable(self.verdict):
            return ""
        return self.verdict or Verdict.STARTING.value

    def after(self, record: Record) -> Standing:
        """Return the standing after `record`, which concerns this tunnel."""
        match record["event"]:
            case "state_changed":
                new = str(record.get("new", ""))
                return Standing(state=new) if new in STOPPED else replace(self, state=new)
            case "verdict_changed":
                return replace(self, verdict=str(record.get("new", "")), reason=str(record.get("reason", "")))
            case "url_changed":
                return replace(self, url=str(record.get("url", "")))
            case "snapshot":
                state, verdict, reason, url = (str(record.get(name, "")) for name in ("state", "verdict", "reason", "url"))
                return Standing(state, verdict, reason, url)
            case _:
                return self

    def snapshot(self, tunnel: str, at: float) -> Record:
        """Return the record that `after` reads this standing from."""
        own = {"state": self.state, "verdict": self.verdict, "reason": self.reason, "url": self.url}
        return {"at": round(at, 3), "event": "snapshot", "tunnel": tunnel, **own}
