"""Know prx's own checks by the word that they carry in `X-PRX-Probe`, and keep the names of prx's own headers for prx. Pure.

Theory of operation. A service may believe the headers that prx adds to what it sends again or late (`prx.core.own_mark`), and
must not see the word: who reads it could pass a gate, and hide from `prx requests`. So what a visitor's side sends is passed on
without headers of these names, whatever their value. Each head is held until it is whole, as a name may come in two pieces;
bodies pass as they come. What is no HTTP/1 is not touched, nor what follows once the service has agreed to another protocol.
"""

from __future__ import annotations

import hmac
import re
from typing import Final

from prx.core.own_mark import OWN_HEADERS, OWN_MARK
from prx.traffic.framing import Framing, Head, Raw

_MARK: Final = OWN_MARK.lower().encode()
_NAMES: Final = frozenset(name.lower().encode() for name in OWN_HEADERS)
_IN_EACH: Final = b"prx"
_NOT_SIMPLE: Final = (_IN_EACH, b"\ncontent-length", b"\ntransfer-encoding", b"\nupgrade:")
_MAY_BEGIN: Final = re.compile(rb"\s*[!-~]*(?: |\Z)")  # what has come of a request, if only a part of its method


def is_own(head: Head, word: bytes) -> bool:
    """Return whether a request is one of prx's own, which know `word`; compared in constant time, and no word is no mark."""
    return bool(word) and any(hmac.compare_digest(value, word) for value in head.values(_MARK))


def is_own_name(name: bytes) -> bool:
    """Return whether a header has a name that prx keeps for itself; `_` counts as `-`, as CGI and WSGI make one of both."""
    return name.strip().lower().replace(b"_", b"-") in _NAMES


def without_own_headers(head: bytes) -> bytes:
    """Return the head of a request without prx's own headers; all else stays as it came."""
    if _IN_EACH not in head.lower():
        return head
    kept, is_dropped = [], False
    for number, line in enumerate(head.split(b"\n")):
        if line[:1] not in {b" ", b"\t"}:  # a folded line belongs to the header before it
            is_dropped = number > 0 and is_own_name(line.partition(b":")[0])
        if not is_dropped:
            kept.append(line)
    return b"\n".join(kept)


class OwnHeaders:
    """Takes prx's own headers out of what the connector sends on one connection. `from_service` is to see every answer."""

    __slots__ = ("_asked", "_awaited", "_framing", "_held")

    def __init__(self) -> None:
        self._framing: Framing | None = Framing(of_requests=True)  # None: what comes is not touched any more
        self._held = bytearray()
        self._asked = b""  # the method of a request for another protocol
        self._awaited: Framing | None = None  # reads the answer to it

    @property
    def is_between(self) -> bool:
        """Return whether what the connector sends next begins a request."""
        return self._framing is not None and self._awaited is None and self._framing.between

    def to_service(self, data: bytes) -> bytes:
        """Return what the service is given now."""
        framing = self._framing
        if framing is None or framing.skip(len(data)):
            return data
        if framing.between:
            if self._awaited is not None:  # the other protocol begins before the service has agreed to it
                self._framing = None
                return data
            if _is_simple(data):
                return data
        stream: bytes | bytearray = data
        if self._held:
            self._held += data
            stream = self._held
        parts: list[bytes] = []
        done = 0
        for piece in framing.feed(data):
            if isinstance(piece, Raw):
                self._framing = None
                break
            if not isinstance(piece, Head):
                continue
            if piece.upgrades:
                self._asked, self._awaited = piece.method, Framing(of_requests=False)
            clean = without_own_headers(piece.raw)
            if clean is not piece.raw:
                end = len(stream) - framing.unread
                parts += [bytes(stream[done : end - len(piece.raw)]), clean]
                done = end
        end = len(stream) - self._waiting(stream)
        passed = data if stream is data and not done and end == len(data) else bytes(stream[done:end])
        self._held = bytearray(stream[end:])
        return b"".join([*parts, passed]) if parts else passed

    def _waiting(self, stream: bytes | bytearray) -> int:
        """Return how many bytes at the end of `stream` are the beginning of a head; from what is none on nothing is touched."""
        framing = self._framing
        waiting = framing.unread if framing is not None and framing.is_in_head else 0
        if waiting and not _MAY_BEGIN.match(stream, len(stream) - waiting):
            self._framing, waiting = None, 0
        return waiting

    def from_service(self, data: bytes) -> None:
        """Take in what the service answers: whether it agrees to another protocol."""
        if self._awaited is None:
            return
        for piece in self._awaited.feed(data):
            if isinstance(piece, Head) and 100 <= piece.status < 200 and piece.status != 101:
                continue
            agreed = isinstance(piece, Head) and (piece.status == 101 or (self._asked == b"CONNECT" and piece.status < 300))
            self._framing = None if agreed else self._framing
            self._awaited = None
            return

    def end(self) -> bytes:
        """Return what is held when the connector has said everything: a head that is not whole."""
        held, self._held = bytes(self._held), bytearray()
        return without_own_headers(held)


def _is_simple(data: bytes) -> bool:
    """Return whether this is one whole head without a body, and has nothing that is looked for: as almost all that comes."""
    end = data.find(b"\n\r\n")
    if end < 0 or end != len(data) - 3 or b"\n\n" in data or data.startswith(b"CONNECT"):
        return False
    low = data.lower()
    return not any(word in low for word in _NOT_SIMPLE)
