"""Response headers and tunnel tokens."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.core.tunnel_token import MAX_TOKEN, TokenError, TunnelToken
from prx.lab.protocol import headers
from prx.lab.protocol.errors import HeadersError

TUNNEL = UUID("587fbc69-9f77-4d94-b7bc-bf0cce02b72a")
SECRET = b"never-on-screen"


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.binary(max_size=60)), max_size=20))
def test_headers_both_ways(pairs: list[tuple[bytes, bytes]]) -> None:
    """Any header list reads back as it was written: order, case, repeats, any bytes."""
    assert headers.decode(headers.encode(pairs)) == pairs


def test_headers_as_cloudflared_writes_them() -> None:
    """The form is raw standard base64 without padding, joined by ':' and ';'."""
    assert headers.encode([(b"Content-Type", b"text/html"), (b"A", b"")]) == b"Q29udGVudC1UeXBl:dGV4dC9odG1s;QQ:"
    assert headers.decode(b"") == []
    assert headers.decode(b"QQ:Qg;;Qw:RA;") == [(b"A", b"B"), (b"C", b"D")]


@pytest.mark.parametrize("value", [b"QQ", b"Q:Q", b"QQ:!!", b"Q Q:QQ", b"QQ:QQ:QQ", "QQ:ü".encode()])
def test_headers_that_are_none(value: bytes) -> None:
    """Anything else raises HeadersError."""
    with pytest.raises(HeadersError):
        headers.decode(value)


@given(st.binary(max_size=100))
def test_headers_any_bytes(value: bytes) -> None:
    """Any bytes give a list or HeadersError."""
    with suppress(HeadersError):
        headers.decode(value)


def test_meta() -> None:
    """Only the origin's own answers count as the origin's."""
    assert headers.from_origin(headers.META_ORIGIN)
    assert headers.from_origin(b'{"src":"origin","x":1}')
    for meta in (headers.META_CONNECTOR, b"", b"[]", b"{", b'{"src":1}', b"\xff"):
        assert not headers.from_origin(meta)


@given(st.text(min_size=1, max_size=20), st.uuids(), st.binary(min_size=1, max_size=64), st.text(max_size=5))
def test_token_both_ways(tag: str, tunnel: UUID, secret: bytes, endpoint: str) -> None:
    """A token reads back as it was written, also with white space around it."""
    token = TunnelToken(tag, tunnel, secret, endpoint)
    assert TunnelToken.decode(f" {token.encode()}\n") == token


def wrapped(document: object) -> str:
    """Write any JSON the way a token is written."""
    return base64.b64encode(json.dumps(document).encode()).decode()


GOOD = {"a": "tag", "t": str(TUNNEL), "s": base64.b64encode(SECRET).decode()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("x" * (MAX_TOKEN + 1), "8193 characters"),
        ("two words", "white space inside"),
        (wrapped(GOOD)[:-1], "may have been cut off"),
        ("ab-_", "URL-safe alphabet"),
        ("a$b!", "not of the base64 alphabet"),
        ("eA==", "not of JSON"),
        (base64.b64encode(b"[" * 5000).decode()[:8000], "not of JSON"),
        ("/w==", "not of JSON"),
        (wrapped([1]), "a JSON array; expected an object"),
        (wrapped(None), "a JSON null"),
        (wrapped(GOOD | {"a": ""}), "the account tag ('a') is missing"),
        (wrapped({key: GOOD[key] for key in "as"}), "the tunnel id ('t') is missing"),
        (wrapped(GOOD | {"t": "zz"}), "is not a UUID"),
        (wrapped(GOOD | {"t": 5}), "is a JSON number; expected a string"),
        (wrapped({key: GOOD[key] for key in "at"}), "the secret ('s') is missing"),
        (wrapped(GOOD | {"s": "never-on-screen!"}), "secret ('s') in the token is not base64"),
        (wrapped(GOOD | {"e": True}), "is a JSON boolean"),
    ],
)
def test_token_defects(text: str, words: str) -> None:
    """Each defect is named, and nothing of the token is shown."""
    with pytest.raises(TokenError) as caught:
        TunnelToken.decode(text)
    assert words in str(caught.value)
    assert "never-on-screen" not in str(caught.value)
    assert GOOD["s"] not in str(caught.value)


def test_token_hides_its_secret() -> None:
    """A token in a log line shows no secret."""
    assert "never" not in repr(TunnelToken("tag", TUNNEL, SECRET))
