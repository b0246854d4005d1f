"""What reaches a terminal can only be read."""

import pytest

from prx.logs.text import decode, printable


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain – größer ✓", "plain – größer ✓"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;new title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\x", "x"),
        ("\x9b2Jclear", "clear"),
        ("a\tb\rc\nd", "a b c d"),
        ("a\0b\x07c\x7fd", "abcd"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a\u2028b", "ab"),
        ("a\udcffb", "a\ufffdb"),
        ("cut \x1b[3", "cut "),
        ("end \x1b", "end "),
    ],
)
def test_printable(raw: str, shown: str) -> None:
    """Escape sequences vanish with their arguments, control characters vanish, text stays."""
    assert printable(raw) == shown


def test_decode_never_raises() -> None:
    """Bytes that are not UTF-8 are replaced, not refused."""
    assert decode(b"a\xff\xc3b\0\x1b[1m") == "a\ufffd\ufffdb"
