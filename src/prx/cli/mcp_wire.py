"""The standard streams of `prx mcp`: every line that is no message of JSON-RPC 2.0 is answered with its error.

The library drops such a line without a word, and the agent waits for an answer that never comes. So the library reads and
writes through this module. What is no message is answered here (JSON-RPC 2.0, 5.1), with its id if there is one, and passed
over. The library gets both streams as `buffer` of `sys.stdin` and `sys.stdout`; descriptors 0 and 1 lead elsewhere meanwhile,
so that no child reads or writes what belongs to the agent.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import sys
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

LONGEST: Final = 16 << 20  # bytes of a line
PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS = -32700, -32600, -32602

Validate = Callable[[str], object]


def refusal(line: bytes, validate: Validate) -> bytes | None:
    """Return the error that answers a line; None if it is a message. `validate` raises for what the library would not take."""
    try:
        text = line.decode()
        message = json.loads(text, object_pairs_hook=_once)
        text.encode() if "\\u" not in text else json.dumps(message, ensure_ascii=False).encode()
    except _TwiceError as error:
        return _error(None, INVALID_REQUEST, f"the key {error} stands there twice")
    except UnicodeError:
        return _error(_id_in(line), PARSE_ERROR, "expected JSON in UTF-8, without lone surrogates")
    except (ValueError, RecursionError):
        return _error(None, PARSE_ERROR, "expected one JSON object on a line")
    if wrong := _no_message(message):
        return wrong
    try:
        validate(text)
    except Exception:  # noqa: BLE001 - nesting or numbers beyond its limits
        return _error(message.get("id"), PARSE_ERROR, "nested too deeply, or a number too large")
    return None


class _TwiceError(ValueError):
    """A key stands twice in one object: which of the two is meant is not known (RFC 8259, 4)."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(ascii(next(name for name in names if names.count(name) > 1))[:80])
    return found


def _no_message(message: Any) -> bytes | None:
    """Return the error of JSON that is neither request, notification nor response; None if it is one."""
    if isinstance(message, list):
        return _error(None, INVALID_REQUEST, "expected one message on a line: batches are not supported")
    if not isinstance(message, dict):
        return _error(None, INVALID_REQUEST, "expected a JSON object")
    if "id" in message and not _is_id(message["id"]) and not ("error" in message and message["id"] is None):
        return _error(None, INVALID_REQUEST, "id: expected a string or a whole number")
    number = message.get("id")
    if message.get("jsonrpc") != "2.0":
        return _error(number, INVALID_REQUEST, 'jsonrpc: expected "2.0"')
    if "method" not in message and ("result" in message or "error" in message):
        return None
    if not isinstance(message.get("method"), str):
        return _error(number, INVALID_REQUEST, "method: expected a string")
    if "params" in message and not isinstance(message["params"], dict):
        return _error(number, INVALID_PARAMS, "params: expected an object")
    return None


def _is_id(found: object) -> bool:
    return isinstance(found, str) or (isinstance(found, int) and not isinstance(found, bool))


def _id_in(line: bytes) -> Any:
    """Return the id of a message whose text is not sound; None if there is none that can be sent back."""
    try:
        found = json.loads(line.decode(errors="replace"))["id"]
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return found if _is_id(found) else None


def _error(number: Any, code: int, words: str) -> bytes:
    about = {PARSE_ERROR: "Parse error", INVALID_REQUEST: "Invalid Request", INVALID_PARAMS: "Invalid params"}[code]
    return (
        json.dumps({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": f"{about}: {words}"}}).encode() + b"\n"
    )


class _Out(io.RawIOBase):
    """What the agent reads: the library's lines, and refusals between them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = Lock()
        self._in_a_line = False
        self._waiting: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Write all of it, and the refusals that waited for the end of a line."""
        with self._lock:
            whole = bytes(data)
            self._write(whole)
            self._in_a_line = not whole.endswith(b"\n")
            while self._waiting and not self._in_a_line:
                self._write(self._waiting.pop(0))
        return len(whole)

    def refuse(self, line: bytes) -> None:
        """Write a line as soon as no other one is under way."""
        with self._lock:
            if self._in_a_line:
                self._waiting.append(line)
            else:
                self._write(line)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]


class _In(io.RawIOBase):
    """What the agent writes, without the lines that are no messages."""

    def __init__(self, fd: int, out: _Out, validate: Validate) -> None:
        self._lines = os.fdopen(fd, "rb", closefd=False)
        self._out, self._validate = out, validate
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: WriteableBuffer) -> int:
        """Fill `into` with what is left of the present message, else with the beginning of the next one; 0 at the end."""
        self._rest = self._rest or self._next()
        view = memoryview(into)
        part, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(part)] = part
        return len(part)

    def _next(self) -> bytes:
        while line := self._lines.readline(LONGEST):
            if len(line) == LONGEST and not line.endswith(b"\n"):
                while (more := self._lines.readline(LONGEST)) and not more.endswith(b"\n"):
                    pass
                self._out.refuse(_error(None, INVALID_REQUEST, f"longer than {LONGEST >> 20} MiB"))
            elif line.strip():
                wrong = refusal(line, self._validate)
                if wrong is None:
                    return line.replace(b"\r", b" ").rstrip() + b"\n"  # white space in JSON, the end of a line for the library
                self._out.refuse(wrong)
        return b""


class _Stream:
    """A standard stream as the library takes it; whatever else is asked of it is asked of `usual`, which leads elsewhere."""

    def __init__(self, usual: Any, buffer: io.BufferedReader | io.BufferedWriter) -> None:
        self._usual = usual
        self.buffer = buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._usual, name)


def take_streams(validate: Validate) -> None:
    """Put this module between the library and the agent; raise OSError if no descriptors are left."""
    own_in, own_out = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (0, 1))
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    out = _Out(own_out)
    sys.stdin = _Stream(sys.stdin, io.BufferedReader(_In(own_in, out, validate)))
    sys.stdout = _Stream(sys.stdout, io.BufferedWriter(out))
