"""What all kinds of hook have in common."""

from __future__ import annotations

import json
from typing import Protocol

from prx.core.value import Value, value_class


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Change(Value):
    """The tunnel's new public URL, and the one that this hook last got (empty: none)."""

    tunnel: str
    url: str
    old: str

    @property
    def text(self) -> str:
        """Say it to people."""
        return f"{self.tunnel}: the public URL is {self.url}"

    def variables(self) -> dict[str, str]:
        """Return what a command finds in its environment."""
        return {"PRX_TUNNEL": self.tunnel, "PRX_URL": self.url, "PRX_OLD_URL": self.old}

    def to_json(self) -> bytes:
        """Return the form that commands find on stdin and servers in the request."""
        return json.dumps({"tunnel": self.tunnel, "url": self.url, "old": self.old}).encode() + b"\n"


class Message(Protocol):
    """What a hook gets. `text` says it to people; `variables` are what a command finds in its environment."""

    @property
    def tunnel(self) -> str:
        """Name the tunnel."""

    @property
    def text(self) -> str:
        """Say it in a line or a few."""

    def variables(self) -> dict[str, str]:
        """Return the environment variables."""

    def to_json(self) -> bytes:
        """Return the form for stdin and for servers, with its newline."""


class HookError(Exception):
    """The hook did not do its work this time; the message says why, on one line or on several.

    `permanent`: another try soon cannot help, so none is made, and the operator hears of it at once. `refused`: the receiver
    has read it and does not want it, so it is not kept to be tried again later.
    """

    def __init__(self, message: str, *, permanent: bool = False, refused: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.refused = refused


class Hook(Protocol):
    """One hook of one tunnel. `label` names it in events, without what could be a secret."""

    @property
    def label(self) -> str:
        """Name it."""

    async def deliver(self, change: Change) -> None:
        """Deliver a change; raise HookError when that fails. A cancelled delivery leaves nothing running."""


class MessageHook(Protocol):
    """A hook that takes any message; `text` is what the configuration says."""

    @property
    def text(self) -> str:
        """The hook as it was written."""

    @property
    def label(self) -> str:
        """Name it, without what could be a secret."""

    async def deliver(self, change: Message) -> None:
        """Deliver a message; raise HookError when that fails. A cancelled delivery leaves nothing running."""
