"""Whether a body is text in UTF-16 or UTF-32, in which no ASCII stands as ASCII: else a secret in it would not be found. Pure.

A byte order mark says so, or the charset that a head names, or where the zeros of the first characters are: JSON begins with
two characters of ASCII, whatever it is encoded in (RFC 4627, section 3), and so does almost every other text with a secret.
Every other encoding that the web knows keeps ASCII, and is searched as it is.
"""

from __future__ import annotations

import re
from typing import Final

from prx.traffic.framing import Head

_MARKS: Final = (  # the longer ones first: one begins like a shorter one
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_CHARSET: Final = re.compile(rb"charset\s*=\s*[\"']?\s*(utf|ucs)[-_ ]?(16|32|2|4)[-_ ]?(le|be)?(?![\w-])", re.IGNORECASE)
_ZEROS: Final[dict[tuple[bool, ...], str]] = {  # which of the first four bytes are zero
    (True, True, True, False): "utf-32-be",
    (False, True, True, True): "utf-32-le",
    (True, False, True, False): "utf-16-be",
    (False, True, False, True): "utf-16-le",
}
_WIDTHS: Final = {"utf-16-le": 2, "utf-16-be": 2, "utf-32-le": 4, "utf-32-be": 4}


def wide_codecs(data: bytes, content_type: bytes = b"") -> tuple[str, ...]:
    """Return the codecs that a body in UTF-16 or UTF-32 may have, the likeliest first; none if ASCII stands in it as ASCII."""
    marked = next((codec for mark, codec in _MARKS if data.startswith(mark)), "")
    is_ascii = data[:4].isascii()
    guessed = _ZEROS.get(tuple(byte == 0 for byte in data[:4]), "") if is_ascii else ""
    named = _named(content_type, guessed)
    return tuple(codec for codec in dict.fromkeys((marked, guessed, named)) if codec)


def _named(content_type: bytes, guessed: str) -> str:
    found = _CHARSET.search(content_type)
    if found is None or (found[1].lower() == b"utf") != (found[2] in {b"16", b"32"}):
        return ""
    width = "16" if found[2] in {b"16", b"2"} else "32"
    if found[3]:
        return f"utf-{width}-{found[3].decode().lower()}"
    return guessed if f"-{width}-" in guessed else f"utf-{width}-le"  # as browsers take it, though RFC 2781 has it otherwise


def decoded(data: bytes, codec: str) -> tuple[str, bytes] | None:
    """Return the text of a body, and the bytes behind it that are no whole character; None if it is none in that codec."""
    whole = len(data) - len(data) % _WIDTHS[codec]
    try:
        return data[:whole].decode(codec, "surrogatepass"), data[whole:]
    except UnicodeDecodeError:
        pass
    if codec.startswith("utf-16"):  # half of a pair at the end, as of a body that was cut
        try:
            return data[: whole - 2].decode(codec, "surrogatepass"), data[whole - 2 :]
        except UnicodeDecodeError:
            return None
    return None


def encoded(text: str, codec: str) -> bytes:
    """Return text that `decoded` gave, in its codec again."""
    return text.encode(codec, "surrogatepass")


def content_type_of(head: Head | None) -> bytes:
    """Return what a head says of its body's type; empty if nothing."""
    return b"" if head is None else b",".join(head.values(b"content-type"))
