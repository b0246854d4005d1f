"""Targets of requests as Go writes them."""

import pytest

from prx.lab.connector.origin.targets import TargetError, go_target


@pytest.mark.parametrize(
    ("target", "written"),
    [
        (b"/", b"/"),
        (b"/a/b?c=d&e", b"/a/b?c=d&e"),
        (b"/a%2Fb", b"/a%2Fb"),
        (b"/!$&'()*+,;=:@[]~-._", b"/!$&'()*+,;=:@[]~-._"),
        (b"//a//b", b"//a//b"),
        (b"/a|b", b"/a%7Cb"),
        (b'/^{}`"<>\\', b"/%5E%7B%7D%60%22%3C%3E%5C"),
        (b"/a%2Fb|!", b"/a/b%7C%21"),
        (b"/a b", b"/a%20b"),
        (b"/\xc3\xa4", b"/%C3%A4"),
        (b"/a#b", b"/a%23b"),
        (b"/a?b|c%zz", b"/a?b|c%zz"),
        (b"/a?", b"/a?"),
        (b"*", b"*"),
    ],
)
def test_targets(target: bytes, written: bytes) -> None:
    """A path with what URLs do not allow is encoded again; everything else goes on untouched."""
    assert go_target(target) == written


@pytest.mark.parametrize("target", [b"/a%", b"/a%2", b"/a%zz", b"/a\r\nX: y", b"/a\x00", b"/a\x7f", b"/?a b"])
def test_refused(target: bytes) -> None:
    """A broken escape, control characters, and what would break the request line are refused."""
    with pytest.raises(TargetError):
        go_target(target)
