"""Marks that distinguish exchanges: every exchange has its own, and every byte that belongs to it is one of its mark's."""

import re

_PIECE = re.compile(rb"<[0-9a-f]*>?|[0-9a-f]+>")


def mark_of(number: int) -> bytes:
    """The mark of an exchange."""
    return b"<%08x>" % number


def foreign(data: bytes, mark: bytes) -> bytes:
    """What there is of other marks in some bytes; a piece of the own mark may stand where they were cut."""
    for piece in _PIECE.findall(data.replace(mark, b"")):
        if not (mark.startswith(piece) or mark.endswith(piece)):
            return bytes(piece)
    return b""


def marks_in(data: bytes) -> set[bytes]:
    """All whole marks in some bytes."""
    return set(re.findall(rb"<[0-9a-f]{8}>", data))
