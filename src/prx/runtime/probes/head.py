"""The head of an HTTP/1 answer, read as leniently and as strictly as cloudflared reads it. Pure: bytes in, facts out.

cloudflared reads the answers of a local service with Go's net/http. If that accepts what RFC 9112 forbids (two spaces in the
status line, a space in a field's name, bare LF), a visitor gets the answer; if it refuses (a control character in a value,
`Content-Length: 2, 2`, `http/1.1`), the visitor gets 502. A probe that judged otherwise would blame the wrong side, so these
are Go's rules, row by row as observed with cloudflared 2026.8.2 and 2026.6.0, alike over HTTP/2 and QUIC; the rows are in
tests/runtime/probes/odd_answers.py. One is stricter: a status below 100, and a 101 that was not asked for, which no visitor can
use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from prx.core.value import Value, value_class
from prx.logs.text import printable

LIMIT: Final = 128 * 1024  # bytes of all heads of an answer; Cloudflare refuses more than 128 KB of response headers (520)
_START: Final = b"HTTP/"
_END: Final = re.compile(rb"\n\r?\n")
_VERSION: Final = re.compile(rb"HTTP/(\d)\.(\d)")
_STATUS: Final = re.compile(rb"[0-9]{3}")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z -]+")  # a token (RFC 9110, 5.6.2), and the space, which Go lets pass
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH: Final = re.compile(rb"[0-9]+")
_LARGEST: Final = 2**63 - 1
_NOT_IN_TRAILERS: Final = {"transfer-encoding", "trailer", "content-length"}


class NotHttpError(ValueError):
    """What came is not HTTP."""


class MalformedError(ValueError):
    """What came is HTTP that cloudflared refuses to read; the text says why, and never quotes a value."""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Head(Value):
    """Status and fields (names in lower case, repeated ones joined by commas), and how the body is delimited.

    length: bytes of the body; None: it is chunked, or ends with the connection.
    """

    status: int
    fields: Mapping[str, str]
    chunked: bool
    length: int | None

    def canonical(self) -> bytes:
        """Return a head that every HTTP library reads, and which delimits the body in the same way."""
        framing = b"Transfer-Encoding: chunked\r\n" if self.chunked else b""
        if self.length is not None:
            framing = b"Content-Length: %d\r\n" % self.length
        return b"HTTP/1.1 %d \r\n%s\r\n" % (self.status, framing)


def split(buffer: bytes, searched: int = 0) -> tuple[Head, bytes] | None:
    """Return the first head in `buffer` and what follows it; None while it is not complete.

    In the first `searched` bytes no head ends: what comes in small pieces is searched once, not again with each of them. Raise
    NotHttpError or MalformedError as soon as nothing that might follow could change that.
    """
    if not (buffer.startswith(_START) or _START.startswith(buffer)):
        raise NotHttpError
    end = _END.search(buffer, max(0, searched - len(b"\n\r\n")))
    if end is not None:
        lines = [line.removesuffix(b"\r") for line in buffer[: end.start()].split(b"\n")]
        return _head(lines), buffer[end.end() :]
    if (newline := buffer.find(b"\n")) >= 0:
        _status(buffer[:newline].removesuffix(b"\r"))
    return None


def _head(lines: list[bytes]) -> Head:
    version, status = _status(lines[0])
    fields = _fields(lines[1:])
    lengths = fields.get("content-length", [])
    codings = fields.get("transfer-encoding", []) if version >= (1, 1) else []  # Go ignores it before HTTP/1.1
    length = _length(lengths)
    chunked = _is_chunked(codings)
    if chunked and any(name.strip().lower() in _NOT_IN_TRAILERS for name in ",".join(fields.get("trailer", [])).split(",")):
        raise MalformedError("Trailer names a field that may not be a trailer")
    joined = {name: ", ".join(values) for name, values in fields.items()}
    return Head(status, joined, chunked, None if chunked else length)


def _status(line: bytes) -> tuple[tuple[int, int], int]:
    """Return version and status of a status line; the reason may be anything, and may be missing."""
    proto, _, rest = line.partition(b" ")
    version, code = _VERSION.fullmatch(proto), rest.lstrip(b" ").partition(b" ")[0]
    if version is None:
        raise MalformedError(f"its status line begins with {_quoted(proto)}, expected HTTP/1.1")
    if not _STATUS.fullmatch(code) or int(code) < 100:
        raise MalformedError(f"its status code is {_quoted(code)}, expected a number from 100 to 999")
    return (int(version[1]), int(version[2])), int(code)


def _fields(lines: list[bytes]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for line in _unfolded(lines):
        name, colon, value = line.partition(b":")
        if not colon:
            raise MalformedError("a line among its headers has no colon")
        if not _NAME.fullmatch(name):
            raise MalformedError("one of its header names holds a character that no name may have")
        if _CONTROL.search(value):
            raise MalformedError(f"its header {name.decode('ascii')} holds a control character")
        if b" " not in name:  # such a field is read, and means nothing
            fields.setdefault(name.decode("ascii").lower(), []).append(value.strip(b" \t").decode("latin-1"))
    return fields


def _unfolded(lines: list[bytes]) -> list[bytes]:
    """Join each line that begins with a space to the one before (the obsolete folding of RFC 9112, 5.2)."""
    whole: list[list[bytes]] = []  # the parts of each, which are joined once: there may be 40,000 of one
    for line in lines:
        if not line.startswith((b" ", b"\t")):
            whole.append([line.rstrip(b" \t")])
        elif whole:
            whole[-1].append(line.strip(b" \t"))
        else:
            raise MalformedError("its first header begins with a space")
    return [b" ".join(parts) for parts in whole]


def _length(values: list[str]) -> int | None:
    if not values:
        return None
    if len(set(values)) > 1:
        raise MalformedError("it has several Content-Length headers that differ")
    value = values[0].encode("latin-1")
    digits = value.lstrip(b"0") or b"0"  # as many zeros before it as one likes
    if not _LENGTH.fullmatch(value) or len(digits) > len(str(_LARGEST)) or int(digits) > _LARGEST:
        raise MalformedError("its Content-Length is no number of bytes")
    return int(digits)


def _is_chunked(values: list[str]) -> bool:
    if not values:
        return False
    if len(values) > 1 or values[0].lower() != "chunked":
        raise MalformedError("its Transfer-Encoding is another one than chunked")
    return True


def _quoted(text: bytes) -> str:
    return repr(printable(text[:40].decode("latin-1")))
