"""DNS messages (RFC 1035, 4.1) as far as a DoH probe needs them: one question out, its addresses back.

Written by hand because a library for all of DNS takes 4 MB of a process that idles, for two kinds of message. What comes back
is hostile until it is read: every length is held against the end of the message, compression leads backwards only, and a chain
of aliases ends. A property test holds it against that library.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from prx.config.hostname import to_ascii
from prx.core.value import Value, value_class

Name: TypeAlias = tuple[bytes, ...]  # its labels in lower case, without the root

KINDS: Final = {"A": 1, "AAAA": 28}
NOERROR, NXDOMAIN = 0, 3
_RCODES: Final = (
    *("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"),
    *("YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"),
)
"""The names of the codes that fit into a header (IANA, DNS RCODEs); the others concern updates and keys."""
_WITHOUT_QUESTION: Final = {1, 2, 4, 5}  # a server that failed need not repeat the question

_IN, _CNAME, _OPT = 1, 5, 41
_RESPONSE, _OPCODE, _RECURSION_DESIRED = 0x8000, 0x7800, 0x0100
_HEADER: Final = struct.Struct("!6H")
_QUESTION: Final = struct.Struct("!2H")
_RECORD: Final = struct.Struct("!2HIH")
_LONGEST_LABEL, _LONGEST_NAME = 63, 255  # RFC 1035, 2.3.4: bytes, the lengths and the root counted
_POINTER, _POINTER_BITS = 0xC0, 0x3FFF
_LONGEST_CHAIN: Final = 16  # aliases
_FAMILIES: Final = {1: (socket.AF_INET, 4), 28: (socket.AF_INET6, 16)}


class NoDnsError(ValueError):
    """These bytes are no DNS message, or one that cannot be true."""


class OtherQuestionError(ValueError):
    """This message answers another question, or none."""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Question(Value):
    """What is asked: the name, and the kind of records (a number, see `KINDS`)."""

    name: Name
    kind: int

    @classmethod
    def of(cls, name: str, kind: str) -> Question:
        """Ask for the A or AAAA records of a name; ValueError if DNS can hold no such name."""
        labels = tuple(label.encode("ascii").lower() for label in to_ascii(name).removesuffix(".").split("."))
        if not all(0 < len(label) <= _LONGEST_LABEL for label in labels) or _length(labels) > _LONGEST_NAME:
            raise ValueError(f"{name!r} is no name that DNS can hold")
        return cls(labels, KINDS[kind])

    def to_wire(self) -> bytes:
        """Return the query. Its number is 0, as HTTP pairs answers with questions and may cache them (RFC 8484, 4.1)."""
        labels = b"".join(bytes([len(label)]) + label for label in self.name)
        return _HEADER.pack(0, _RECURSION_DESIRED, 1, 0, 0, 0) + labels + b"\0" + _QUESTION.pack(self.kind, _IN)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Reply(Value):
    """What a server says: its response code, and the addresses as text, aliases followed."""

    rcode: int
    addresses: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """Return the name of the response code; its number if it has none."""
        return _RCODES[self.rcode] if self.rcode < len(_RCODES) else str(self.rcode)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class _Record(Value):
    name: Name
    kind: int
    group: int  # "class" in the RFC
    ttl: int
    start: int
    end: int


def read_reply(message: bytes, question: Question) -> Reply:
    """Understand the answer to `question`; NoDnsError or OtherQuestionError if it is none."""
    try:
        return _read_reply(message, question)
    except (struct.error, IndexError) as error:
        raise NoDnsError("the message ends too early") from error


def _read_reply(message: bytes, question: Question) -> Reply:
    number, flags, questions, *counts = _HEADER.unpack_from(message)
    asked, at = _questions(message, questions)
    records = list(_records(message, at, sum(counts)))
    rcode = (flags & 0xF) | next((record.ttl >> 24 << 4 for record in records if record.kind == _OPT), 0)  # RFC 6891, 6.1.3
    repeated = asked == [(question, _IN)] or (not asked and rcode in _WITHOUT_QUESTION)
    if number or not flags & _RESPONSE or flags & _OPCODE or not repeated:
        raise OtherQuestionError
    if rcode not in {NOERROR, NXDOMAIN}:
        return Reply(rcode)
    addresses = _addresses(message, records[: counts[0]], question)
    if addresses and rcode == NXDOMAIN:
        raise NoDnsError("an address for a name that does not exist")
    return Reply(rcode, addresses)


def _questions(message: bytes, count: int) -> tuple[list[tuple[Question, int]], int]:
    """Return the questions with their classes, and the offset of the first record."""
    found, at = [], _HEADER.size
    for _ in range(count):
        name, at = _name(message, at)
        kind, group = _QUESTION.unpack_from(message, at)
        found.append((Question(name, kind), group))
        at += _QUESTION.size
    return found, at


def _records(message: bytes, at: int, count: int) -> Iterator[_Record]:
    for _ in range(count):
        name, at = _name(message, at)
        kind, group, ttl, length = _RECORD.unpack_from(message, at)
        start = at + _RECORD.size
        at = start + length
        if at > len(message):
            raise NoDnsError("the message ends too early")
        yield _Record(name, kind, group, ttl, start, at)
    if at != len(message):
        raise NoDnsError("there is more behind the message")


def _addresses(message: bytes, answers: list[_Record], question: Question) -> tuple[str, ...]:
    """Return the addresses of the name, or of the name that its aliases end at."""
    name = question.name
    for _ in range(_LONGEST_CHAIN):
        own = [record for record in answers if record.name == name and record.group == _IN]
        if found := [record for record in own if record.kind == question.kind]:
            return tuple(dict.fromkeys(_address(message, record) for record in found))
        alias = next((record for record in reversed(own) if record.kind == _CNAME), None)  # there may be one only
        if alias is None:
            return ()
        name, end = _name(message, alias.start)
        if end != alias.end:
            raise NoDnsError("an alias that is not a name")
    raise NoDnsError("too many aliases")


def _address(message: bytes, record: _Record) -> str:
    family, size = _FAMILIES[record.kind]
    if record.end - record.start != size:
        raise NoDnsError("an address of the wrong length")
    return socket.inet_ntop(family, message[record.start : record.end])


def _name(message: bytes, at: int) -> tuple[Name, int]:
    """Return the name that begins at `at`, and the offset behind it (RFC 1035, 4.1.4)."""
    labels: list[bytes] = []
    end, earliest, length = -1, at, 1
    while size := message[at]:
        if size >= _POINTER:
            (pointer,) = struct.unpack_from("!H", message, at)
            end = at + 2 if end < 0 else end
            at = pointer & _POINTER_BITS
            if at >= earliest:
                raise NoDnsError("compression that does not lead backwards")
            earliest = at
            continue
        length += size + 1
        if size > _LONGEST_LABEL or length > _LONGEST_NAME or at + 1 + size > len(message):
            raise NoDnsError("a name that DNS cannot hold")
        labels.append(message[at + 1 : at + 1 + size].lower())
        at += 1 + size
    return tuple(labels), at + 1 if end < 0 else end


def _length(name: Name) -> int:
    return sum(len(label) + 1 for label in name) + 1
