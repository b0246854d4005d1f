"""How a tunnel stands, as its user sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prx.core.states import UP


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a tunnel at one moment.

    state: idle, starting, ready, degraded, backoff, stopping or failed. verdict: who is at fault, as in the table of verdicts;
    `reason` and `hint` put it into words. url: the public URL, empty if it is not known; `proven` if prx has seen it answer.
    restarts: of the connector. raw: everything that `prx status --json` shows of it.
    """

    name: str
    state: str
    verdict: str
    reason: str
    hint: str
    url: str
    proven: bool
    local_addr: str
    restarts: int
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def is_up(self) -> bool:
        """Return whether requests reach the local service, as far as that lies with the tunnel."""
        return self.state in UP

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Status:
        """Read one tunnel of `prx status --json`."""
        words = ("name", "state", "verdict", "reason", "hint", "url", "local_addr")
        return cls(
            **{word: str(raw[word]) for word in words}, proven=bool(raw["proven"]), restarts=int(raw["restarts"]), raw=raw
        )

    def ended(self) -> Status:
        """Return the status after the end of prx."""
        raw = {**self.raw, "state": "idle", "verdict": "", "reason": "prx has ended", "hint": "", "url": "", "proven": False}
        return Status.from_json(raw)
