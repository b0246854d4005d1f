"""One request and its answer, as they were seen; and how they are shown, without secrets.

What is kept is what came. What leaves this room for a screen, a file or another process goes through `Masks` first.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from prx.core.events import timestamp
from prx.traffic.charset import content_type_of
from prx.traffic.framing import Head
from prx.traffic.masks import Masks

BODY_LIMIT: Final = 1024 * 1024
"""Bytes that are kept of one body; the rest is counted."""

MESSAGE_LIMIT: Final = 64 * 1024
MESSAGES: Final = 200
"""WebSocket messages and server-sent events that are kept of one exchange; later ones are counted."""

INTERIM: Final = 20
"""Statuses of interim answers that are kept of one exchange."""

FIELD_WEIGHT: Final = 240
"""About how many bytes a field of a head weighs beside its text: two objects, their pair, and its place by its name."""


@dataclass(slots=True)
class Body:
    """What is kept of a body, and how long it was. `whole`: it came to its proper end. `most`: bytes that are kept."""

    kept: bytearray = field(default_factory=bytearray)
    size: int = 0
    whole: bool = False
    most: int = BODY_LIMIT

    @property
    def cut(self) -> bool:
        """Return whether some of it was not kept, or never came."""
        return not self.whole or self.size > len(self.kept)

    def add(self, data: bytes) -> int:
        """Take a piece; return how many bytes of it are kept."""
        self.size += len(data)
        room = data[: max(0, self.most - len(self.kept))]
        self.kept += room
        return len(room)

    def let_go(self) -> None:
        """Keep nothing of it any more; who reads it just now still can."""
        self.kept, self.most = bytearray(), 0


@dataclass(slots=True)
class Message:
    """A WebSocket message (`sender` "visitor" or "service"), or a server-sent event; `size` is that of all of it."""

    at: float
    sender: str
    kind: str
    data: bytes
    size: int


@dataclass(slots=True)
class Exchange:
    """One request and what came of it. `own`: prx's health check made it.

    Times are seconds of a clock that cannot be set, so that durations are true; 0: not yet. ahead: how far the wall clock was
    ahead of it when this began.

    answered: its place in the order in which answers began, from 1; 0: there is none yet. is_kept: it has not made room for
    others.
    """

    id: int
    tunnel: str
    began: float
    request: Head | None = None
    request_body: Body = field(default_factory=Body)
    answer: Head | None = None
    answer_body: Body = field(default_factory=Body)
    interim: list[int] = field(default_factory=list)
    first_byte: float = 0.0
    ended: float = 0.0
    notes: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    more_messages: int = 0
    message_bytes: int = 0  # about what the messages weigh
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    own: bool = False
    replay_of: int = 0
    signature: str = ""
    signed_with: object = None  # what `signature` was judged with
    answered: int = 0
    ahead: float = 0.0
    is_kept: bool = True

    def wall(self, time: float) -> float:
        """Return one of its times in seconds since 1970."""
        return time + self.ahead

    def at(self, time: float) -> str:
        """Return one of its times for people and programs."""
        return timestamp(self.wall(time))

    @property
    def weight(self) -> int:
        """Return about how many bytes it keeps."""
        weight = 1000 + self.message_bytes + len(self.request_body.kept) + len(self.answer_body.kept)
        for head in (self.request, self.answer):
            if head is not None:
                weight += 3 * len(head.raw) + FIELD_WEIGHT * len(head.headers)
        return weight + sum(FIELD_WEIGHT + len(name) + len(value) for name, value in self.trailers)

    @property
    def status(self) -> int:
        """Return the status of the answer; 0 while there is none."""
        return self.answer.status if self.answer else 0

    @property
    def answer_is_switch(self) -> bool:
        """Return whether it has become another protocol."""
        return self.status == 101 or (self.request is not None and self.request.method == b"CONNECT")

    def keep(self, message: Message) -> None:
        """Take a message; beyond `MESSAGES` it is counted alone."""
        if self.is_kept and len(self.messages) < MESSAGES:
            self.messages.append(message)
            self.message_bytes += len(message.data) + 200
        else:
            self.more_messages += 1

    def let_go(self) -> None:
        """Keep nothing of it any more but its heads: it made room for others, and may go on for days."""
        self.is_kept = False
        self.request_body.let_go()
        self.answer_body.let_go()
        self.more_messages += len(self.messages)
        self.messages, self.message_bytes = [], 0

    def note(self, text: str) -> None:
        """Add a remark, once."""
        if text and text not in self.notes:
            self.notes.append(text)


def summary_json(exchange: Exchange, masks: Masks) -> dict[str, Any]:
    """Return a line of the list."""
    request = exchange.request
    done, first = exchange.ended, exchange.first_byte
    return {
        "id": exchange.id,
        "tunnel": exchange.tunnel,
        "at": exchange.at(exchange.began),
        "method": "" if request is None else _text(request.method),
        "path": "" if request is None else masks.text(_text(request.target)),
        "status": exchange.status or None,
        "first_byte_ms": round((first - exchange.began) * 1000, 2) if first else None,
        "duration_ms": round((done - exchange.began) * 1000, 2) if done else None,
        "request_bytes": exchange.request_body.size,
        "answer_bytes": exchange.answer_body.size,
        "messages": len(exchange.messages) + exchange.more_messages,
        "own": exchange.own,
        "replay_of": exchange.replay_of or None,
        "signature": exchange.signature or None,
        "notes": list(exchange.notes),
    }


def exchange_json(exchange: Exchange, masks: Masks) -> dict[str, Any]:
    """Return everything that is kept of it; bodies are base64."""
    return summary_json(exchange, masks) | {
        "request": _side(exchange.request, exchange.request_body, masks),
        "answer": _side(exchange.answer, exchange.answer_body, masks),
        "interim": list(exchange.interim),
        "trailers": _pairs(exchange.trailers, masks),
        "events": [
            {
                "at": exchange.at(item.at),
                "sender": item.sender,
                "kind": item.kind,
                "size": item.size,
                "data": _message(item, masks),
            }
            for item in list(exchange.messages)  # others may come meanwhile
        ],
    }


def _side(head: Head | None, body: Body, masks: Masks) -> dict[str, Any] | None:
    if head is None and not body.size:
        return None
    return {
        "headers": [] if head is None else _pairs(head.headers, masks),
        "version": "" if head is None else _text(head.version),
        "reason": "" if head is None else masks.text(_text(head.reason)),
        "body": base64.b64encode(shown_body(head, body, masks)).decode(),
        "body_bytes": body.size,
        "body_cut": body.cut,
    }


def shown_body(head: Head | None, body: Body, masks: Masks) -> bytes:
    """Return what is kept of the body that follows a head, as it may be shown."""
    return masks.body(bytes(body.kept), coding_of(head), cut=body.cut, content_type=content_type_of(head))


def _pairs(headers: Iterable[tuple[bytes, bytes]], masks: Masks) -> list[list[str]]:
    return [[_text(name), masks.header(_text(name), _text(value))] for name, value in headers]


def _message(item: Message, masks: Masks) -> str:
    shown = masks.data(item.data, cut=item.size > len(item.data))
    return base64.b64encode(shown).decode() if item.kind == "binary" else _text(shown)


def coding_of(head: Head | None) -> str:
    """Return the content coding of the body that follows a head; empty if it has none."""
    return "" if head is None else _text(b",".join(head.values(b"content-encoding"))).lower().strip()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
