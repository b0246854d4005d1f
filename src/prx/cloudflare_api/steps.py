"""One step of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Action = Literal["create", "change", "keep", "delete"]

TITLES: Final = {
    "pin": "log-in",
    "tunnel": "tunnel",
    "service_token": "service token",
    "application": "Access application",
    "ingress": "tunnel's rules",
    "secret": "tunnel's token",
    "file": "configuration file",
    "dns": "DNS record",
    "connections": "connections",
}


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one thing: `what` is its kind, `now` what exists, `then` what will be."""

    action: Action
    what: str
    name: str
    now: str
    then: str

    @property
    def words(self) -> str:
        """Return the step as a line for people."""
        line = f"{self.action:<6}  {TITLES[self.what]} {self.name}"
        return f"{line} ({self.now})" if self.action == "keep" else f"{line}: {self.now} ⇒ {self.then}"
