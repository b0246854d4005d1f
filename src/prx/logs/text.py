"""Make text from outside safe to show: no escape sequence, no control character, no trick of writing direction.

Log lines are written by strangers: a visitor's path or header may hold sequences that move a terminal's cursor, rename
its window, or make a line read backwards. Sequences follow ECMA-48: CSI "ESC [ … letter" and the string sequences
(OSC, DCS, APC, PM, SOS) up to BEL or ST, which are dropped whole, with what they say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SEQUENCE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI, whole or cut
    "|(?:\x1b[]P_^X]|[\x9d\x90\x9f\x9e\x98])[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?"  # OSC, DCS, APC, PM, SOS
    "|\x1b[ -/]*[0-~]?"  # any other escape
)
# bidirectional overrides and isolates (Unicode UAX #9), line and paragraph separators, byte order mark
_INVISIBLE = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\ufeff"
_DROP: dict[int, str | None] = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *map(ord, _INVISIBLE)])
_DROP |= {ord(blank): " " for blank in "\t\v\f\r\n"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """Return `text` as one line that can only be read: tabs and line ends become spaces, the rest of it is dropped."""
    if text.isprintable():
        return text
    text = _SEQUENCE.sub("", text).translate(_DROP)
    return _LONE_SURROGATE.sub("\ufffd", text)


def decode_lines(lines: Sequence[bytes]) -> str:
    """Return the text of raw lines, as `decode` has each of them, with a newline between them."""
    text = b"\n".join(lines).decode("utf-8", "replace")
    if text.replace("\n", "").isprintable():
        return text
    return "\n".join(map(decode, lines))


def decode(line: bytes) -> str:
    """Return the text of a raw line, printable, whatever bytes it holds; not UTF-8 becomes U+FFFD."""
    return printable(line.decode("utf-8", "replace"))
