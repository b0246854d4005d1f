"""Secrets are hidden in whatever form a body came, and what is shown fits into one answer."""

from __future__ import annotations

import base64
import gzip
import json
import random
import zlib
from collections.abc import Callable

import pytest

from prx.core.errors import UsageError
from prx.logs.redact import MARK, Redactor
from prx.traffic.exchange import BODY_LIMIT, MESSAGE_LIMIT, Exchange, Message, exchange_json
from prx.traffic.export import as_curl
from prx.traffic.framing import parse_head
from prx.traffic.masks import PIECE, Masks
from prx.traffic.replay import request_bytes
from prx.traffic.room import whole_within
from prx.traffic.shown import lines

SECRET, FOREIGN = "planted-secret", "geheim-är-ключ"
MASKS = Masks(Redactor([SECRET, FOREIGN]))
TEXT = b"first\nit=%b&more\nlast" % SECRET.encode()


def came(body: bytes, *headers: bytes, whole: bool = True) -> Exchange:
    """Return a request with a body."""
    raw = b"\r\n".join([b"POST /hook HTTP/1.1", *headers, b"", b""])
    exchange = Exchange(7, "web", 1_800_000_000.0, request=parse_head(raw, request=True))
    exchange.request_body.add(body)
    exchange.request_body.whole = whole
    return exchange


def readings(shown: dict[str, object]) -> str:
    """Return everything that a reader could make of what is shown, unpacked by every means."""
    request = shown["request"]
    assert isinstance(request, dict)
    body = base64.b64decode(request["body"])
    texts = [json.dumps(shown), body.decode("utf-8", "replace"), *lines(shown)]
    for unpack in (gzip.decompress, zlib.decompress):
        try:
            texts.append(unpack(body).decode("utf-8", "replace"))
        except (OSError, EOFError, zlib.error):
            texts.append("")
    return "\n".join(texts)


PACKED: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b"X-GZIP", gzip.compress),
    "deflate": (b"deflate", zlib.compress),
    "two members": (b"gzip", lambda body: gzip.compress(b"nothing") + gzip.compress(body)),
    "more than is unpacked": (b"gzip", lambda body: gzip.compress(b"\0" * 2 * BODY_LIMIT + body)),
    "a coding in a coding": (b"deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
    "a coding that nobody knows": (b"rot13", lambda body: body),
    "no gzip at all": (b"gzip", lambda body: body),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_body_hides_its_secrets(name: str) -> None:
    """A secret in a packed body is in nothing that leaves: not packed, not unpacked; and a replay sends what came."""
    coding, pack = PACKED[name]
    packed = pack(TEXT)
    exchange = came(packed, b"Content-Encoding: " + coding)
    shown = exchange_json(exchange, MASKS)
    assert SECRET not in readings(shown)
    edit = {"method": "POST", "body": shown["request"]["body"]}
    assert request_bytes(exchange, edit, MASKS).endswith(b"\r\n\r\n" + packed)


def test_a_packed_body_without_a_secret_is_as_it_came() -> None:
    """What holds no secret is shown byte for byte, and read unpacked."""
    shown = exchange_json(came(gzip.compress(b'{"order": 12}'), b"Content-Encoding: gzip"), MASKS)
    assert gzip.decompress(base64.b64decode(shown["request"]["body"])) == b'{"order": 12}'
    assert {"(unpacked from gzip)", '{"order": 12}'} <= set(lines(shown))


def test_a_body_that_cannot_be_unpacked_is_not_shown_or_exported() -> None:
    """Of a coding that is not known nothing is shown, with the reason; an export of it is refused."""
    unknown = exchange_json(came(TEXT, b"Content-Encoding: rot13"), MASKS)
    assert "(rot13: not shown, as it cannot be unpacked here and may hold secrets)" in set(lines(unknown))
    with pytest.raises(UsageError, match="cannot be unpacked"):
        as_curl(unknown, "http://127.0.0.1:8080")


@pytest.mark.parametrize(
    "body",
    [
        b"a " + FOREIGN.encode(),
        b"\xff\xfe binary " + FOREIGN.encode() + b" \x00\x80",
        json.dumps({"x": FOREIGN}).encode(),
        json.dumps({"x": FOREIGN}, ensure_ascii=False).encode(),
    ],
)
def test_a_secret_of_other_letters_is_hidden(body: bytes) -> None:
    """A secret is found in a body in UTF-8, also between bytes that are no text; those stay as they are."""
    hidden = MASKS.data(body)
    assert MARK.encode() in hidden
    assert FOREIGN.encode() not in hidden
    assert body[:2] == hidden[:2]


def test_escapes_of_json_reveal_nothing() -> None:
    """A token that JSON wrote with escapes is hidden where it is shown without them."""
    token = "eyJ" + "hbGciOiJIUzI1NiJ9" * 5
    body = json.dumps({"x": token}).replace("eyJ", "\\u0065yJ").encode()
    shown = exchange_json(came(body, b"Content-Type: application/json"), MASKS)
    assert token not in "\n".join(lines(shown))


@pytest.mark.parametrize("kept", [4, 13])
def test_a_secret_that_was_cut_is_hidden(kept: int) -> None:
    """What is kept of a body, a message or an event may end within a secret: its beginning is hidden."""
    start = SECRET[:kept].encode()
    exchange = came(b" " * (BODY_LIMIT - kept) + SECRET.encode())
    exchange.messages = [
        Message(1.0, "visitor", kind, b" " * (MESSAGE_LIMIT - kept) + start, MESSAGE_LIMIT + 100)
        for kind in ("text", "binary", "event")
    ]
    shown = exchange_json(exchange, MASKS)
    assert not base64.b64decode(shown["request"]["body"]).endswith(start)
    assert not base64.b64decode(shown["events"][1]["data"]).endswith(start)
    assert not any(item["data"].endswith(start.decode()) for item in shown["events"])


NAMED = (
    '{"client_secret": "%s"}',
    '{"headers": {"Authorization": "Bearer %s"}}',
    '"--token %s"',
    '{"url": "https://me:%s@example.com/?a=1"}',
    '{"text": "API token: %s"}',
    '["Cookie: sid=%s", "x"]',
)


@pytest.mark.parametrize("named", NAMED)
def test_a_long_line_is_searched_in_pieces(named: str) -> None:
    """Wherever a secret stands in a line of many pieces, its name is in the same piece, and it is hidden."""
    chance = random.Random(0)
    for _ in range(10):
        value = "".join(chance.choices("abcdef0123456789", k=40))
        filler = ",".join(f'"item {number}"' for number in range(chance.randrange(PIECE // 14, PIECE // 10)))
        line = f"[{filler},{named % value},{filler},{filler}]"
        hidden = MASKS.text(line)
        assert value not in hidden
        assert hidden.startswith('["item 0","item 1",')
    assert MASKS.text(line.replace(named % value, "1")) == line.replace(named % value, "1")


def test_markup_on_one_line_is_searched_in_pieces() -> None:
    """A name and its secret in two tags are in the same piece."""
    value = "0123456789abcdef" * 4
    for before in range(PIECE - 60, PIECE + 60, 7):
        line = f"{'<p></p>' * (before // 7)}{'x' * (before % 7)}<i>API token: <code>{value}</code></i>" + "<p></p>" * PIECE
        assert value not in MASKS.text(line)


def test_what_is_shown_fits_into_one_answer() -> None:
    """Full bodies and the longest heads are cut, so that prx can answer at all."""
    headers = [b"X-%d: %b" % (number, b"\xff" * 900) for number in range(250)]
    exchange = came(b"x" * BODY_LIMIT, *headers)
    exchange.answer, exchange.answer_body = exchange.request, exchange.request_body
    shown = whole_within(exchange_json(exchange, MASKS))
    assert len(json.dumps(shown)) < 4 * 1024 * 1024
    assert len(shown["request"]["headers"]) == 250


def test_a_million_lines_are_searched_in_time() -> None:
    """Lines that hold nothing cost next to nothing, and the one that holds a secret is found among them."""
    text = "\n" * 1_000_000
    assert MASKS.text(text) == text
    assert MASKS.text(f"{text}it={SECRET}\n{text}") == f"{text}it={MARK}\n{text}"
    assert MASKS.data(f"{text}it={SECRET[:8]}".encode(), cut=True) == f"{text}it={MARK}".encode()


WIDE: dict[str, tuple[str, bytes]] = {
    "a byte order mark": ("utf-16", b"text/plain"),
    "named, low byte first": ("utf-16-le", b"text/plain; charset=utf-16le"),
    "named, high byte first": ("utf-16-be", b'text/plain; charset="UTF-16BE"'),
    "named without an order": ("utf-16-le", b"text/plain; charset=UTF-16"),
    "named, the other order": ("utf-16-be", b"text/plain; charset=UTF-16"),
    "ucs": ("utf-16-le", b"text/xml; charset=ucs-2"),
    "not named": ("utf-16-le", b"application/json"),
    "not named, high byte first": ("utf-16-be", b""),
    "four bytes": ("utf-32", b"text/plain; charset=utf-32"),
    "four bytes, not named": ("utf-32-be", b"application/json"),
    "another charset is named": ("utf-16-le", b"text/plain; charset=utf-8"),
    "the other order is named": ("utf-16-le", b"text/plain; charset=utf-16be"),
}
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9" * 5
SECRETS = f'{{"known": "{SECRET}", "other": "{FOREIGN}", "url": "https://x/?token=hidden-too", "jwt": "{JWT}"}}\nlast\n'


@pytest.mark.parametrize("pack", ["", "gzip"])
@pytest.mark.parametrize(("codec", "kind"), WIDE.values(), ids=WIDE.keys())
def test_a_body_in_utf16_or_utf32_hides_its_secrets(codec: str, kind: bytes, pack: str) -> None:
    """Read as the text that it is, or by byte, it shows none; it is still text in its codec, and a replay sends what came."""
    body = SECRETS.encode(codec)
    packed = gzip.compress(body) if pack else body
    exchange = came(packed, b"Content-Type: " + kind, *([b"Content-Encoding: gzip"] if pack else []))
    shown = exchange_json(exchange, MASKS)
    raw = base64.b64decode(shown["request"]["body"])
    text = (gzip.decompress(raw) if pack else raw).decode(codec)
    everything = text + readings(shown).replace("\0", "")
    assert not [secret for secret in (SECRET, FOREIGN, "hidden-too", JWT) if secret in everything]
    assert text.endswith("}\nlast\n")
    assert text.count(MARK) == 4
    edit = {"method": "POST", "body": shown["request"]["body"]}
    assert request_bytes(exchange, edit, MASKS).endswith(b"\r\n\r\n" + packed)


@pytest.mark.parametrize(("codec", "kind"), WIDE.values(), ids=WIDE.keys())
def test_a_body_in_utf16_or_utf32_without_a_secret_is_as_it_came(codec: str, kind: bytes) -> None:
    """Nothing is changed, and its lines are shown as text."""
    body = '{"order": 12}\nlast'.encode(codec)
    shown = exchange_json(came(body, b"Content-Type: " + kind), MASKS)
    assert base64.b64decode(shown["request"]["body"]) == body
    assert {'{"order": 12}', "last"} <= set(lines(shown))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xfe" + TEXT, b""),
        (TEXT, b"text/plain; charset=utf-16"),
        (b"x" + TEXT, b"text/plain; charset=utf-32"),
        (b"a\0b\0" + TEXT, b""),
        (b"\0\0\xfe\xff" + TEXT + b"\xff", b""),
    ],
)
def test_what_is_only_called_utf16_hides_its_secrets_too(body: bytes, kind: bytes) -> None:
    """A wrong charset, a false mark and zeros at the beginning keep nothing from being found as ASCII."""
    shown = exchange_json(came(body, b"Content-Type: " + kind), MASKS)
    assert SECRET not in readings(shown)
    assert MARK in readings(shown)


@pytest.mark.parametrize("kept", [4, 13])
@pytest.mark.parametrize(("codec", "cut"), [("utf-16-le", 0), ("utf-16-be", 1), ("utf-32-le", 3), ("utf-32-be", 0)])
def test_a_wide_secret_that_was_cut_is_hidden(codec: str, cut: int, kept: int) -> None:
    """Also if the cut is within a character."""
    start = "it is ".encode(codec)
    data = start + SECRET[:kept].encode(codec) + "x".encode(codec)[:cut]
    hidden = MASKS.data(data, cut=True)
    assert hidden.startswith(start + MARK.encode(codec))
    assert SECRET[:4].encode(codec) not in hidden


@pytest.mark.parametrize("data", [b"\xff\xfe\0", b"\xff\xfe\0\xd8", b"\0\0\0a\xff", b"a\0\0\0" + b"\xff" * 4, b"\xfe\xff", b""])
def test_what_is_no_whole_character_comes_back(data: bytes) -> None:
    """Half of a character, half of a pair and numbers that are no character are shown as they came."""
    assert MASKS.data(data) == data
    assert MASKS.data(data, content_type=b"text/plain; charset=utf-16") == data


@pytest.mark.parametrize("named", ["password", "user[password]", "client_secret", "access_token", "X-Amz-Signature", "otp"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le"])
def test_the_first_field_of_a_form_is_as_secret_as_the_others(named: str, codec: str) -> None:
    """What is hidden behind & or ? is hidden at the beginning of a form, too, and its other fields stay."""
    body = f"{named}=hunter-2&page=3&{named}=hunter-3".encode(codec)
    shown = exchange_json(came(body, b"Content-Type: application/x-www-form-urlencoded; charset=" + codec.encode()), MASKS)
    text = base64.b64decode(shown["request"]["body"]).decode(codec)
    assert text == f"{named}={MARK}&page=3&{named}={MARK}"


BASE64 = "q83v/7Zz+Xk1/aQ9+0mS7r2W&<'>"
ENCODERS: dict[str, Callable[[str], str]] = {
    "PHP": lambda text: json.dumps(text).replace("/", "\\/"),
    "Go": lambda text: json.dumps(text).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    ".NET": lambda text: "".join(f"\\u{ord(x):04X}" if x in "&<>+'" else x for x in json.dumps(text)),
    "Python": json.dumps,
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("secret", [BASE64.partition("&")[0], BASE64[:10], "a+b+c/d", "p&q<r>s"])
def test_a_secret_is_hidden_however_json_was_written(encoder: str, secret: str) -> None:
    """Encoders that escape more than they must write a secret in another way, and what is shown of it is unescaped."""
    masks = Masks(Redactor([secret]))
    body = f'{{"x": {ENCODERS[encoder](secret)}, "y": "stays"}}'.encode()
    shown = exchange_json(came(body, b"Content-Type: application/json"), masks)
    assert secret not in readings(shown)
    assert "stays" in readings(shown)
    assert json.loads(base64.b64decode(shown["request"]["body"])) == {"x": MARK, "y": "stays"}
