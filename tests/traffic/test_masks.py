"""What is hidden in what is shown of an exchange, and that everything else stays as it came."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest

from prx.logs.redact import Redactor
from prx.traffic.coding import packed, unpacked
from prx.traffic.exchange import Exchange
from prx.traffic.framing import parse_head
from prx.traffic.masks import Masks
from prx.traffic.replay import request_bytes

SECRET = "planted-señret"
MASKS = Masks(Redactor([SECRET]))


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "br"])
def test_a_packed_body_is_packed_again_without_its_secret(coding: str) -> None:
    """What is shown unpacks to the body without the secret; a body that has none stays as it came, byte for byte."""
    plain = f"before {SECRET} after".encode()
    assert unpacked(MASKS.body(packed(plain, coding), coding, cut=False), coding) == b"before [redacted] after"
    pack = {"deflate": zlib.compress, "br": brotli.compress}.get(coding, gzip.compress)
    clean = pack(b"nothing to hide")
    assert MASKS.body(clean, coding, cut=False) == clean


@pytest.mark.parametrize("kept", range(4, len(SECRET.encode())))
def test_the_beginning_of_a_secret_at_a_cut_is_hidden(kept: int) -> None:
    """A body that was cut within a secret shows none of it, also if the cut is within a letter."""
    shown = MASKS.body(b"it is " + SECRET.encode()[:kept], "", cut=True)
    assert shown.startswith(b"it is [redacted]")
    assert SECRET.encode()[:4] not in shown


@pytest.mark.parametrize("data", [b"\xff\xfe\x00binary", "ünï".encode("latin-1"), b"line\r\nline\n", bytes(range(256))])
def test_bytes_of_any_kind_come_back(data: bytes) -> None:
    """What is no text, and hides nothing, is not changed by being examined."""
    assert MASKS.data(data) == data


@pytest.mark.parametrize(
    "name", ["X-Hub-Signature-256", "paypal-transmission-sig", "Hmac", "Signature", "X-Anything-Signature-V2"]
)
def test_signatures_are_hidden_in_headers_and_where_a_head_is_shown_as_text(name: str) -> None:
    """A header that is a signature is hidden by its name, also in what could not be read as a head."""
    assert MASKS.header(name, "t=1,v1=abcdef") == "[redacted]"
    assert MASKS.text(f"GET\r\n{name}: abcdef\r\nHost: x") == f"GET\r\n{name}: [redacted]\r\nHost: x"


def test_values_that_look_alike_once_they_are_hidden_are_sent_in_their_order() -> None:
    """An edited request with two cookies has the two that came, not one of them twice."""
    head = parse_head(b"GET / HTTP/1.1\r\nCookie: one\r\nCookie: two\r\nX-New: a\r\n\r\n", request=True)
    exchange = Exchange(1, "web", 0.0, request=head)
    exchange.request_body.whole = True
    edit = {"headers": [["Cookie", "[redacted]"], ["Cookie", "[redacted]"], ["X-New", "b"]]}
    raw = request_bytes(exchange, edit, MASKS)
    assert b"\r\nCookie: one\r\nCookie: two\r\nX-New: b\r\n" in raw
