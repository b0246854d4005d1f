"""Read one direction of an HTTP/1 connection as it comes, in pieces of any size. Pure.

h11 would refuse what odd services answer and cloudflared passes on (`tests/runtime/probes/odd_answers.py`), and costs more
time than the relay itself. This reader judges nothing: bare LF ends a line, any name is a name, and what is no HTTP at all
becomes `Raw`. What is *ambiguous* (two lengths, a length beside chunks, folded lines) is noted in `Head.doubts`: a gate
refuses it, a copy shows it. RFC 9112, sections 2 to 7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

HEAD_LIMIT: Final = 256 * 1024
"""Bytes that a head may have; one that is longer is raw. The edge lets 128 KiB of headers pass."""

FRAMING_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"expect", b"trailer"})
"""What belongs to one way of sending a request, in lower case: one that is sent again gets its own."""

_LINE_LIMIT: Final = 16 * 1024
_REQUEST: Final = re.compile(rb"([!-~]+) ([^ \r\n][^\r\n]*?) (HTTP/\d\.\d)")
_STATUS: Final = re.compile(rb"(HTTP/\d+\.\d+) +(\d{3})(?: ([^\r\n]*))?")
_END: Final = re.compile(rb"\r?\n\r?\n")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")
_DIGITS: Final = re.compile(rb"0*[0-9]{1,19}")
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# the fields of a head that is as it should be, and each of them
_FIELDS: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*\r\n")
_FIELD: Final = re.compile(rb"([^:\r\n]+):([^\r\n]*)\r\n")
_CODINGS: Final = b"transfer-encoding"

Headers: TypeAlias = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Head:
    """The head of a message. A request has `method` and `target`, an answer `status` and `reason`; `raw` is all of it."""

    raw: bytes
    version: bytes
    headers: Headers
    method: bytes = b""
    target: bytes = b""
    status: int = 0
    reason: bytes = b""
    doubts: list[str] = field(default_factory=list)
    _by_name: dict[bytes, list[bytes]] | None = field(default=None, repr=False, compare=False)

    def values(self, name: bytes) -> list[bytes]:
        """Return every value of a header; `name` is in lower case."""
        if self._by_name is None:
            self._by_name = {}
            for key, value in self.headers:
                self._by_name.setdefault(key.lower(), []).append(value)
        return self._by_name.get(name, [])

    def words(self, name: bytes) -> set[bytes]:
        """Return the words of a header that is a list, in lower case."""
        return {word.strip().lower() for value in self.values(name) for word in value.split(b",")} - {b""}

    @property
    def upgrades(self) -> bool:
        """Return whether it asks for another protocol, or changes to it."""
        return self.status == 101 or self.method == b"CONNECT" or (not self.status and bool(self.values(b"upgrade")))


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a body, without the marks between chunks."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The end of a message. `whole`: it came to its proper end."""

    trailers: tuple[tuple[bytes, bytes], ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that are no HTTP/1, and why; everything after them is raw, too."""

    data: bytes
    why: str


Piece: TypeAlias = Head | Data | End | Raw


class Framing:
    """Reads requests (`of_requests`), or answers: of those, tell it beforehand what each answers with `expect`."""

    def __init__(self, *, of_requests: bool) -> None:
        self._requests = of_requests
        self._held = bytearray()
        self._state = "head"  # head, length, chunk, data, gap, trailers, close, raw
        self._searched = 0  # bytes of a head that is not whole: each is searched for its end once
        self._left = 0
        self._trailers: Headers = []
        self._trailer_bytes = 0
        self._methods: list[bytes] = []

    @property
    def between(self) -> bool:
        """Return whether it stands between two messages."""
        return self._state == "head" and not self._held

    @property
    def unread(self) -> int:
        """Return how many bytes are held, or not read yet."""
        return len(self._held)

    @property
    def is_in_head(self) -> bool:
        """Return whether what comes belongs to a head, or begins one."""
        return self._state == "head"

    def skip(self, size: int) -> bool:
        """Take so many bytes unread if they are all within a body that goes on behind them; return whether they are."""
        if self._held or size >= self._left or self._state not in {"length", "data"}:
            return False
        self._left -= size
        return True

    @property
    def held_head(self) -> bytes:
        """Return the beginning of a head that is not whole yet."""
        return bytes(self._held) if self._state == "head" else b""

    def expect(self, method: bytes) -> None:
        """Note which method the next answer without one belongs to: an answer to HEAD has no body."""
        self._methods.append(method)

    def go_raw(self) -> bytes:
        """Take everything from here on as raw; return what was held."""
        held, self._held, self._state = bytes(self._held), bytearray(), "raw"
        return held

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield what `data` completes. What is held is bounded by `HEAD_LIMIT`."""
        if self._state == "raw":
            yield Raw(data, "")
            return
        self._held += data
        while self._held and (pieces := self._next()) is not None:
            yield from pieces

    def close(self) -> Iterator[Piece]:
        """Yield what the end of the connection completes."""
        held = bytes(self._held)
        self._held.clear()
        if self._state == "head" and held:
            yield Raw(held, "it ends within the head")
        elif self._state == "close":
            yield End()
        elif self._state not in {"head", "raw"}:
            yield End(whole=False)
        self._state = "raw"

    def _next(self) -> list[Piece] | None:
        """Return the next pieces of what is held, None if more is needed."""
        match self._state:
            case "head":
                return self._head()
            case "length" | "data":
                return self._body()
            case "close":
                data = bytes(self._held)
                self._held.clear()
                return [Data(data)]
            case "raw":
                return [Raw(self.go_raw(), "")]
            case _:
                return self._chunk_line()

    def _body(self) -> list[Piece]:
        taken = bytes(self._held[: self._left])
        del self._held[: self._left]
        self._left -= len(taken)
        if self._left:
            return [Data(taken)]
        if self._state == "data":
            self._state = "gap"
            return [Data(taken)]
        return [Data(taken), self._over()]

    def _over(self) -> End:
        self._state = "head"
        trailers, self._trailers, self._trailer_bytes = tuple(self._trailers), [], 0
        return End(trailers)

    def _unreadable(self, why: str) -> list[Piece]:
        return [Raw(self.go_raw(), why)]

    def _head(self) -> list[Piece] | None:
        if self._requests:  # RFC 9112, 2.2: an empty line before a request is passed over
            while self._held.startswith((b"\r", b"\n")) and len(self._held) > 1:
                del self._held[:1]
            if self._held.isspace():
                return None
        end = _END.search(self._held, max(0, self._searched - len(b"\r\n\r\n")))
        if end is None:
            if len(self._held) > HEAD_LIMIT:
                return self._unreadable(f"the head has more than {HEAD_LIMIT // 1024} KiB")
            known = self._held.find(b"\n", 0, self._searched) >= 0  # the first line, which was judged then
            self._searched = len(self._held)
            return self._unreadable("it is not HTTP/1") if not known and self._is_hopeless() else None
        self._searched = 0
        head = parse_head(bytes(self._held[: end.end()]), request=self._requests)
        if head is None:
            return self._unreadable("it is not HTTP/1")
        del self._held[: end.end()]
        return [head, *self._begin_body(head)]

    def _is_hopeless(self) -> bool:
        """Return whether what has come so far cannot become a head, so that it is shown before more comes."""
        line, found, _ = bytes(self._held[:_LINE_LIMIT]).partition(b"\n")
        if not found:
            return not self._requests and not b"HTTP/".startswith(line[:5]) and line[:5] != b"HTTP/"
        return _first_line(line.removesuffix(b"\r"), request=self._requests) is None

    def _begin_body(self, head: Head) -> list[Piece]:
        method = b""
        if not self._requests:
            interim = 100 <= head.status < 200 and head.status != 101
            method = b"" if interim or not self._methods else self._methods.pop(0)
            if interim:
                return []
        lengths, coded = head.values(b"content-length"), head.values(_CODINGS)
        if lengths:
            lengths = list({value.strip() for value in lengths})
        if head.status in {204, 304} or method == b"HEAD":
            return [self._over()]
        if head.status == 101 or (method == b"CONNECT" and 200 <= head.status < 300):
            self._state = "raw"
            return []
        if coded and coded[-1].split(b",")[-1].strip().lower() == b"chunked":
            self._state = "chunk"
        elif coded and not self._requests:
            self._state = "close"
        elif lengths:
            length = lengths[0]
            if not self._requests and (len(lengths) > 1 or not _DIGITS.fullmatch(length)):
                self._state = "close"
                return []
            self._left = int(length.lstrip(b"0") or b"0") if _DIGITS.fullmatch(length) else 0
            self._state = "length" if self._left else "head"
            return [] if self._left else [self._over()]
        elif self._requests:
            return [self._over()]
        else:
            self._state = "close"
        return []

    def _chunk_line(self) -> list[Piece] | None:
        at = self._held.find(b"\n", 0, _LINE_LIMIT)
        if at < 0:
            return self._unreadable("a chunk begins with no length") if len(self._held) >= _LINE_LIMIT else None
        line = bytes(self._held[:at]).removesuffix(b"\r")
        if self._state == "trailers":
            del self._held[: at + 1]
            if not line:
                return [self._over()]
            self._trailer_bytes += at
            if self._trailer_bytes > HEAD_LIMIT:
                return self._unreadable(f"the trailers have more than {HEAD_LIMIT // 1024} KiB")
            name, _, value = line.partition(b":")
            self._trailers.append((name, value.strip()))
            return []
        if self._state == "gap":
            if line:
                return self._unreadable("a chunk is longer than its length")
            del self._held[: at + 1]
            self._state = "chunk"
            return []
        size = _CHUNK.fullmatch(line)
        if size is None:
            return self._unreadable("a chunk begins with no length")
        del self._held[: at + 1]
        self._left = int(size[1], 16)
        self._state = "data" if self._left else "trailers"
        return []


def parse_head(raw: bytes, *, request: bool) -> Head | None:
    """Return the head in `raw`, which ends with its empty line; None if it is none."""
    end = raw.find(b"\n")
    first = _first_line(raw[:end].removesuffix(b"\r"), request=request)
    if first is None:
        return None
    head = Head(raw, b"", [])
    if request:
        head.method, head.target, head.version = first[1], first[2], first[3]
    else:
        head.version, head.status, head.reason = first[1], int(first[2]), first[3] or b""
    if raw[end - 1 : end] == b"\r" and _FIELDS.fullmatch(raw, end + 1):
        head.headers = [(name, value.strip(b" \t")) for name, value in _FIELD.findall(raw, end + 1)]
        if head.values(b"content-length") or head.values(_CODINGS) or b"\0" in raw[:end]:
            head.doubts += _framing_doubts(head)
    else:
        _read_fields(head, raw[end + 1 :])
    return head


def _read_fields(head: Head, raw: bytes) -> None:
    """Read the fields of a head that is not as it should be."""
    fields: list[tuple[bytes, list[bytes]]] = []  # the parts of each value, which are joined once: there may be 80,000
    for line in raw.replace(b"\r\n", b"\n").split(b"\n"):
        if not line:
            continue
        if line[:1] in b" \t" and fields:
            fields[-1][1].append(line.strip())
            continue
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name):
            head.doubts.append("a line that is no header")
        fields.append((name, [value.strip(b" \t")]))
    if any(len(parts) > 1 for _, parts in fields):
        head.doubts.append("a folded line")
    head.headers = [(name, b" ".join(parts)) for name, parts in fields]
    head.doubts += _framing_doubts(head)


def _first_line(line: bytes, *, request: bool) -> re.Match[bytes] | None:
    return (_REQUEST if request else _STATUS).fullmatch(line)


def _framing_doubts(head: Head) -> Iterator[str]:
    lengths, coded = head.values(b"content-length"), head.values(_CODINGS)
    if len(set(lengths)) > 1 or any(not _DIGITS.fullmatch(length) for length in lengths):
        yield "its length is not clear"
    if coded and lengths:
        yield "it has a length and chunks"
    if coded and [value.strip().lower() for value in coded] != [b"chunked"]:
        yield "its transfer coding is not chunked alone"
    if b"\r" in head.raw.replace(b"\r\n", b"") or b"\n" in head.raw.replace(b"\r\n", b"") or b"\0" in head.raw:
        yield "its lines do not end as they should"
