"""What all kinds of hook have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Change:
    """The tunnel's new public URL, and the one that this hook last got (empty: none)."""

    tunnel: str
    url: str
    old: str

    def to_json(self) -> bytes:
        """Return the form that commands find on stdin and servers in the request."""
        return json.dumps({"tunnel": self.tunnel, "url": self.url, "old": self.old}).encode() + b"\n"


class HookError(Exception):
    """The hook did not do its work this time; the message says why, on one line or on several."""


class Hook(Protocol):
    """One hook of one tunnel. `label` names it in events, without what could be a secret."""

    @property
    def label(self) -> str:
        """Name it."""

    async def deliver(self, change: Change) -> None:
        """Deliver a change; raise HookError when that fails. A cancelled delivery leaves nothing running."""
