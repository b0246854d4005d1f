"""Whatever the bytes are and however they come in pieces: lines are the same, and planted secrets never pass."""

import base64
import itertools
import json
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from prx.logs.fold import Folder
from prx.logs.lines import CUT_MARKER, LineSplitter
from prx.logs.records import LogRecord
from prx.logs.redact import Redactor
from prx.logs.text import decode

raw = st.binary(max_size=200) | st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"\0", b"xyz" * 4])).map(b"".join)


@given(raw, st.lists(st.integers(0, 200)), st.integers(1, 12))
def test_chunks_never_change_lines(data: bytes, cuts: list[int], limit: int) -> None:
    """The same bytes in any pieces give the same lines, none longer than the limit and its marker."""
    whole = LineSplitter(limit)
    expected = whole.feed(data) + whole.finish()
    pieces = LineSplitter(limit)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found = [line for a, b in itertools.pairwise(places) for line in pieces.feed(data[a:b])]
    found += pieces.finish()
    assert found == expected
    assert (pieces.lines, pieces.cut) == (whole.lines, whole.cut) == (len(found), whole.cut)


plain = st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"xyz" * 4])).map(b"".join)


@given(raw | plain, st.lists(st.integers(0, 60)), st.integers(1, 12))
@example(b"bcd\n", [], 2)
@example(b"a\nbcd\na", [3], 2)
@example(b"a\nbcd\na", [3], 3)
def test_blocks_are_the_lines(data: bytes, cuts: list[int], limit: int) -> None:
    """Lines that are taken as blocks if that is possible, and else one by one, are those that are always taken one by one."""
    whole = LineSplitter(limit)
    expected = whole.feed(data) + whole.finish()
    pieces = LineSplitter(limit)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found: list[bytes] = []
    for a, b in itertools.pairwise(places):
        block = pieces.take_block(data[a:b])
        found += pieces.feed(data[a:b]) if block is None else block[:-1].split(b"\n")
    assert found + pieces.finish() == expected


@given(raw.filter(lambda data: b"\r" not in data))
def test_lines_lose_nothing(data: bytes) -> None:
    """Without cutting, the lines are the stream."""
    splitter = LineSplitter(10_000)
    assert b"\n".join([*splitter.feed(data), *splitter.finish(), *([b""] if data.endswith(b"\n") else [])]) == data


secrets = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=8, max_size=40)
tokens_of = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
tokens = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=20, max_size=60)
around = st.text(max_size=60).map(lambda text: decode(text.encode("utf-8", "replace")))
ENCODINGS = [
    lambda value: value,
    lambda value: quote(value, safe=""),
    lambda value: base64.b64encode(value.encode()).decode(),
    lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    lambda value: json.dumps(value)[1:-1],
]


@given(secrets, around, around, st.sampled_from(ENCODINGS))
def test_known_secret_never_passes(secret: str, before: str, after: str, encode: object) -> None:
    """A registered value is in no output, in any encoding, whatever stands around it."""
    assert callable(encode)
    planted = encode(secret)
    found = Redactor([secret]).line(f"{before}{planted}{after}")
    assert planted not in found


NOTATIONS = [
    'h={{"Accept":["*/*"],"{name}":["{value}"],"X":["1"]}} host=a',
    '{{"headers":{{"{name}":["a","{value}"]}},"message":"ok"}}',
    "map[Accept:[*/*] {name}:[a {value}] X:[1]]",
    "{name}: {value}",
    '{{"message":"{name}: {value}","level":"info"}}',
    "{name}={value}",
    r'{{"message":"{{\"{name}\":[\"{value}\"]}}"}}',
]
NAMES = ["Authorization", "cookie", "Set-Cookie", "CF-Access-Client-Secret", "Cf-Access-Jwt-Assertion", "X-Api-Key"]


@given(st.sampled_from(NOTATIONS), st.sampled_from(NAMES), tokens, st.sampled_from(["", "Bearer ", "a=b; c="]), around)
def test_header_value_never_passes(notation: str, name: str, token: str, prefix: str, after: str) -> None:
    """A secret header's value is in no output, in any notation, and JSON stays JSON."""
    line = notation.format(name=name, value=prefix + token)
    found = Redactor().line(line)
    assert token not in found
    if line.startswith("{"):
        json.loads(found)
    assert token not in Redactor().line(f"{after.replace(token, '')} {line}")


MARKED = ["cfast_", "cfut_", "cfat_", "cfk_"]
CALLED = [
    "API token {}", "api_token: {}", "client secret (new): {}", '{{"client_secret":"{}"}}', "CF_API_KEY={}", "X-Auth-Key: {}",
    "service token is {}", "the global API key `{}`", "client-secret={}", "CLOUDFLARE_API_TOKEN={}", "account token '{}'",
]  # fmt: skip


@given(st.sampled_from(MARKED), st.text(tokens_of, min_size=40, max_size=48), around, around)
def test_a_marked_secret_never_passes(mark: str, rest: str, before: str, after: str) -> None:
    """Cloudflare's secrets of 2026 are recognized by their mark, wherever they stand; a cut one too, nothing of it stays."""
    line = f"{before} {mark}{rest} {after}"
    assert mark + rest not in Redactor().line(line)
    assert rest[:20] not in Redactor().line(f"{mark}{rest[:25]}{CUT_MARKER}")
    assert mark not in Redactor().line(f"x {mark}{rest}")


@given(
    st.sampled_from(CALLED),
    st.one_of(st.text("0123456789abcdef", min_size=64, max_size=64), st.text(tokens_of, min_size=40, max_size=40)),
)
def test_an_unmarked_secret_that_is_called_one_never_passes(notation: str, secret: str) -> None:
    """Older secrets look like any other word; what stands in front of them says what they are."""
    assert secret not in Redactor().line(notation.format(secret))


@given(st.binary(max_size=300))
def test_any_bytes_become_a_safe_line(data: bytes) -> None:
    """Decoding and redacting never raises, and what comes out is printable and stays the same when done again."""
    text = Redactor(["secret-value"]).line(decode(data))
    assert "\x1b" not in text
    assert "\n" not in text
    assert decode(text.encode()) == text


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from("abcdef"))), st.integers(1, 4))
def test_folding_keeps_count(steps: list[tuple[float, str]], width: int) -> None:
    """The counts add up to the number of lines, and no count waits longer than it may."""
    folder, now, out = Folder(hold=10, width=width), 0.0, list[LogRecord]()
    for pause, word in steps:
        now += pause
        out += folder.push(now, LogRecord("t", "web", "info", word))
        assert folder.due is None or folder.due > now
    out += folder.flush(now, everything=True)
    assert sum(int(str(record.fields.get("repeated", 1))) for record in out) == len(steps)
    assert folder.flush(now + 99) == []
