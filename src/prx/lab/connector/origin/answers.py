"""Read an answer of HTTP/1.x out of bytes, judged as Go's client judges it. Pure: bytes in, parts of the answer out.

How long an answer is follows RFC 9112 (6.3): some have no body whatever their head says; else `Transfer-Encoding: chunked`
wins over a length, which is then dropped, and no other exchange follows; lengths that contradict each other are an error;
without either the body ends with the connection. What lies behind the end belongs to no answer: `surplus` says whether there
is any.

cloudflared is written in Go, so that what a service may get wrong is what Go's net/http forgives (behaviour of Go 1.24, read
and observed with cloudflared 2026.8.2): lines of a head that end in a bare LF, folded lines, names with a space, any version
HTTP/x.y. Not forgiven: other bytes in names, control characters in values, a bare LF or CR in the line of a chunk, a coding
other than `chunked`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

Headers = list[tuple[bytes, bytes]]

MAX_HEAD: Final = 256 * 1024  # bytes of all heads before a body together, interim ones too, and of the trailers
_MAX_CHUNK_LINE: Final = 4096
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z -]+")
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH: Final = re.compile(rb"0*([0-9]{1,19})")
_LARGEST: Final = 2**63 - 1
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,16}")
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_NO_TRAILERS: Final = frozenset({b"transfer-encoding", b"content-length", b"trailer"})


class AnswerError(ValueError):
    """The bytes are no answer of HTTP/1.x, or break off; the text is Go's if Go has one."""


def bodiless(method: bytes, status: int) -> bool:
    """Return whether the answer to such a request has no body, whatever its head says."""
    opened = method == b"CONNECT" and 200 <= status <= 299
    return opened or method == b"HEAD" or status in _BODILESS or 100 <= status <= 199


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer; of those that frame a body only a length that is true is among the headers."""

    status: int
    reason: str
    headers: Headers


class _Stage(Enum):
    HEAD = auto()
    SIZED = auto()
    CHUNK_LINE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    UNTIL_CLOSED = auto()
    DONE = auto()


class AnswerReader:
    """A reader of the answer to one request with this method: `feed` bytes, then ask for a head or for parts of the body.

    `lasting` is known with the final head: whether the service lets another exchange follow, and the body has an end of its
    own.
    """

    def __init__(self, method: bytes) -> None:
        self.lasting = False
        self.trailers: Headers = []
        self._method = method
        self._buffer = bytearray()
        self._searched = 0
        self._heads = 0
        self._stage = _Stage.HEAD
        self._left = 0
        self._closed = False

    @property
    def done(self) -> bool:
        """Return whether the answer is whole."""
        return self._stage is _Stage.DONE

    @property
    def surplus(self) -> bool:
        """Return whether bytes came behind the end of the answer."""
        return self.done and bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes of the service; empty ones say that it sends no more."""
        self._buffer += data
        self._closed = self._closed or not data

    def head(self) -> Head | None:
        """Return the next head, interim or final; None: more bytes are needed. Raises AnswerError."""
        found = _HEAD_END.search(self._buffer, max(0, self._searched))
        if self._heads + (found.end() if found else len(self._buffer)) > MAX_HEAD:
            raise AnswerError("net/http: server response headers exceeded 262144 bytes; aborted")
        if found is None:
            self._look_at_part()
            return None
        lines = bytes(self._buffer[: found.start()]).split(b"\n")
        del self._buffer[: found.end()]
        self._searched = 0
        self._heads += found.end()
        version, status, reason = _status_line(lines[0].removesuffix(b"\r"))
        headers = _fields(lines[1:])
        if 100 <= status <= 199 and status != HTTPStatus.SWITCHING_PROTOCOLS:
            return Head(status, reason, headers)
        return Head(status, reason, self._frame(version, status, headers))

    def _look_at_part(self) -> None:
        """Refuse at once what cannot become a head, such as the greeting of a service that does not speak HTTP."""
        line, newline, _ = self._buffer.partition(b"\n")
        if newline and not self._searched:
            _status_line(bytes(line.removesuffix(b"\r")))
        if newline:
            self._searched = len(self._buffer) - 2
        if self._closed:
            raise AnswerError("unexpected EOF" if self._buffer else "EOF")

    def body(self) -> bytes | None:
        """Return the next part of the body, empty at its end; None: more bytes are needed. Raises AnswerError."""
        while True:
            match self._stage:
                case _Stage.DONE:
                    return b""
                case _Stage.SIZED | _Stage.CHUNK if self._buffer:
                    return self._part()
                case _Stage.UNTIL_CLOSED if self._buffer or self._closed:
                    data = self._take(len(self._buffer))
                    self._stage = self._stage if data else _Stage.DONE
                    return data
                case _Stage.CHUNK_LINE if self._chunk_line():
                    continue
                case _Stage.CHUNK_END if self._chunk_end():
                    continue
                case _Stage.TRAILERS if self._read_trailers():
                    continue
            if self._closed:
                raise AnswerError("unexpected EOF")
            return None

    def take_rest(self) -> bytes:
        """Take what came behind a head that ended HTTP."""
        return self._take(len(self._buffer))

    # -- what frames the body --------------------------------------------------------------------------------------

    def _frame(self, version: tuple[int, int], status: int, headers: Headers) -> Headers:
        """Choose how the end of the body is found; return the headers without those that are not true."""
        chunked = _chunked(version, headers)
        length = _length(headers)
        dropped = {b"transfer-encoding"}
        if status == HTTPStatus.NO_CONTENT or (chunked and not bodiless(self._method, status)):
            dropped.add(b"content-length")
        if bodiless(self._method, status):
            self._stage = _Stage.DONE
        elif chunked:
            self._stage = _Stage.CHUNK_LINE
        elif length is not None:
            self._stage, self._left = (_Stage.SIZED, length) if length else (_Stage.DONE, 0)
        else:
            self._stage = _Stage.UNTIL_CLOSED
        self.lasting = (
            self._stage is not _Stage.UNTIL_CLOSED and _persistent(version, headers) and not _doubtful(version, headers)
        )
        kept = [(name, value) for name, value in headers if name.lower() not in dropped]
        return _once(kept, b"content-length")

    # -- parts of the body -----------------------------------------------------------------------------------------

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _part(self) -> bytes:
        data = self._take(self._left)
        self._left -= len(data)
        if not self._left:
            self._stage = _Stage.DONE if self._stage is _Stage.SIZED else _Stage.CHUNK_END
        return data

    def _chunk_line(self) -> bool:
        end = self._buffer.find(b"\n", 0, _MAX_CHUNK_LINE)
        if end < 0:
            if len(self._buffer) >= _MAX_CHUNK_LINE:
                raise AnswerError("header line too long")
            return False
        line = self._take(end + 1)
        if line.find(b"\r") != len(line) - 2:
            raise AnswerError("chunked line ends with bare LF" if b"\r" not in line else "invalid CR in chunked line")
        size = line.rstrip(b" \t\r\n").partition(b";")[0]
        if not _SIZE.fullmatch(size):
            raise AnswerError(_bad_size(size))
        self._left = int(size, 16)
        self._stage = _Stage.CHUNK if self._left else _Stage.TRAILERS
        return True

    def _chunk_end(self) -> bool:
        if not b"\r\n".startswith(self._buffer[:2]):
            raise AnswerError("malformed chunked encoding")
        if len(self._buffer) < 2:
            return False
        self._take(2)
        self._stage = _Stage.CHUNK_LINE
        return True

    def _read_trailers(self) -> bool:
        if self._buffer.startswith(b"\r\n"):
            self._take(2)
        else:
            end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3), MAX_HEAD)
            if end < 0:
                self._searched = len(self._buffer)
                if len(self._buffer) >= MAX_HEAD:
                    raise AnswerError("http: suspiciously long trailer after chunked body")
                return False
            block = self._take(end + 4)[:-4]
            self.trailers = [field for field in _fields(block.split(b"\n")) if field[0].lower() not in _NO_TRAILERS]
        self._stage = _Stage.DONE
        return True


def _status_line(line: bytes) -> tuple[tuple[int, int], int, str]:
    shown = repr(line.decode("latin-1"))
    protocol, space, rest = line.partition(b" ")
    version = _VERSION.fullmatch(protocol)
    if not space or version is None:
        raise AnswerError(f"malformed HTTP {'version' if space else 'response'} {shown}")
    code, _, reason = rest.lstrip(b" ").partition(b" ")
    if not re.fullmatch(rb"[1-9][0-9]{2}", code):
        raise AnswerError(f"malformed HTTP status code {code.decode('latin-1')!r}")
    return (int(version[1]), int(version[2])), int(code), reason.decode("latin-1")


def _fields(lines: list[bytes]) -> Headers:
    """Read the lines of a head, which may end in CR; a line that begins with a blank continues the one before."""
    joined: list[bytes] = []
    for line in lines:
        text = line.removesuffix(b"\r")
        if not text.startswith((b" ", b"\t")):
            joined.append(text.strip(b" \t"))
        elif joined:
            joined[-1] += b" " + text.strip(b" \t")
        else:
            raise AnswerError(f"malformed MIME header initial line: {text.decode('latin-1')!r}")
    headers: Headers = []
    for text in joined:
        name, colon, value = text.partition(b":")
        if not colon or not _NAME.fullmatch(name) or _FORBIDDEN.search(value):
            raise AnswerError(f"malformed MIME header line: {text.decode('latin-1')!r}")
        headers.append((name, value.lstrip(b" \t")))
    return headers


def _bad_size(size: bytes) -> str:
    if not size:
        return "empty hex number for chunk length"
    return "http chunk length too large" if _SIZE.match(size[:16]) and len(size) > 16 else "invalid byte in chunk length"


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def _once(headers: Headers, name: bytes) -> Headers:
    """Keep the first of several headers with this name."""
    first = next((index for index, (key, _) in enumerate(headers) if key.lower() == name), None)
    return [header for index, header in enumerate(headers) if index == first or header[0].lower() != name]


def _chunked(version: tuple[int, int], headers: Headers) -> bool:
    codings = _values(headers, b"transfer-encoding")
    if not codings or version < (1, 1):  # HTTP/1.0 does not know it
        return False
    if len(codings) > 1:
        raise AnswerError(f"too many transfer encodings: {[coding.decode('latin-1') for coding in codings]}")
    if codings[0].lower() != b"chunked":
        raise AnswerError(f"unsupported transfer encoding: {codings[0].decode('latin-1')!r}")
    return True


def _doubtful(version: tuple[int, int], headers: Headers) -> bool:
    """Return whether another reader may see another end: chunks with a length, or in HTTP/1.0 (RFC 9112, 6.1 and 6.3)."""
    in_chunks = bool(_values(headers, b"transfer-encoding"))
    return in_chunks and (version < (1, 1) or bool(_values(headers, b"content-length")))


def _length(headers: Headers) -> int | None:
    values = [value.strip(b" \t") for value in _values(headers, b"content-length")]
    if not values:
        return None
    if len(set(values)) > 1:
        shown = [value.decode("latin-1") for value in values]
        raise AnswerError(f"http: message cannot contain multiple Content-Length headers; got {shown}")
    found = _LENGTH.fullmatch(values[0])
    if found is None or int(found[1]) > _LARGEST:
        raise AnswerError(f"bad Content-Length {values[0].decode('latin-1')!r}")
    return int(found[1])


def _persistent(version: tuple[int, int], headers: Headers) -> bool:
    """Return whether another exchange may follow (RFC 9112, 9.3)."""
    tokens = {token.strip(b" \t").lower() for value in _values(headers, b"connection") for token in value.split(b",")}
    if version < (1, 0) or b"close" in tokens:
        return False
    return version != (1, 0) or b"keep-alive" in tokens
