"""Log lines of any kind: taken apart without loss, never with an exception."""

from __future__ import annotations

import json
import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.backends.base import LineKind
from prx.backends.cloudflare.classify import parse_line
from prx.backends.cloudflare.loglines import take_apart
from prx.logs.lines import LineSplitter

TIME = "2026-11-22T17:08:56Z"


def test_a_console_line_gives_message_and_fields() -> None:
    """Fields are split off the end, quoted or not; the message keeps its own equal signs."""
    line = take_apart(TIME + r' ERR a=b is no field: error="say \"x\"\n\x41" connIndex=2 event=0 ip=127.0.0.1 location=ams01')
    assert (line.level, line.message) == ("error", "a=b is no field:")
    assert line.error == 'say "x"\\nA'
    assert (line.connection, line.location) == (2, "ams01")
    assert line.fields == {"time": "2026-11-22T17:08:56Z", "event": 0, "ip": "127.0.0.1"}


def test_a_json_line_gives_the_same_parts() -> None:
    """Both formats of one line are one LogLine."""
    fields: dict[str, Any] = {"connIndex": 3, "protocol": "quic", "location": "ams01", "ip": "::1", "event": 0}
    text = json.dumps({"level": "info", "message": "Registered tunnel connection", "time": "2026-11-22T17:08:56Z", **fields})
    console = " INF Registered tunnel connection connIndex=3 event=0 ip=::1 location=ams01 protocol=quic"
    assert parse_line("stderr", text) == parse_line("stderr", TIME + console)


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ("plain words", "info", "plain words"),
        ("", "info", ""),
        ("\ufffd\ufffd", "info", "\ufffd\ufffd"),
        ("2026/11/22 17:11:34 http2: hello", "info", "http2: hello"),
        (TIME + " INF", "info", ""),
        (TIME + " FTL out", "error", "out"),
        ("\x1b[31m" + TIME + " \x1b[33mWRN\x1b[0m careful", "warn", "careful"),
        ('{"level":"fatal","message":7}', "error", "7"),
        ('{"message":null}', "info", ""),
        ('{"connIndex":true,"message":"m"}', "info", "m"),
        ('{"torn":0{"level":"info"}', "info", '{"torn":0{"level":"info"}'),
        ("[1]", "info", "[1]"),
        ("x" + "\x1b]0;title\x07", "info", "x\\x1b]0;title\\x07"),
        ('{"message":"\\ud800 \\u202e"}', "info", "\\ud800 \\u202e"),
    ],
)
def test_odd_lines_stay_readable(line: str, level: str, message: str) -> None:
    """What is in no known format is kept as text; controls, and what turns writing round, are made visible."""
    found = take_apart(line)
    assert (found.level, found.message) == (level, message)
    assert found.connection is None
    found.message.encode()  # can be written anywhere


@given(st.text(max_size=400), st.sampled_from(["stdout", "stderr"]))
def test_random_text_never_raises(line: str, stream: str) -> None:
    """No line can break the reader, and what comes out can be stored as JSON in UTF-8."""
    found = parse_line(stream, line)
    json.dumps([found.message, found.error, dict(found.fields)], ensure_ascii=False).encode()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON_VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
JSON_NAMES = st.sampled_from(["level", "message", "error", "connIndex", "protocol", "location", "x"])


@given(st.dictionaries(JSON_NAMES, JSON_VALUES))
def test_any_json_object_is_a_line(entry: dict[str, Any]) -> None:
    """Fields of a wrong type, surrogates and nesting end as text."""
    found = parse_line("stderr", json.dumps(entry))
    assert found.level in {"debug", "info", "warn", "error"}
    json.dumps([found.message, found.error, found.location, dict(found.fields)], ensure_ascii=False).encode()


WORDS = st.lists(st.sampled_from(["Serve", "tunnel", "error:", "100%", "(x)", '"q"']), min_size=1)
PROMOTED = {"error", "location", "protocol", "connIndex", "time"}
FIELD_NAMES = st.text(string.ascii_letters, min_size=1, max_size=8).filter(lambda name: name not in PROMOTED)
FIELD_TEXT = st.text(string.ascii_letters + string.digits + ' ="\\/:.-', max_size=20)


@given(WORDS, st.dictionaries(FIELD_NAMES, FIELD_TEXT))
def test_fields_survive_the_console_format(words: list[str], fields: dict[str, str]) -> None:
    """A line written as cloudflared writes it comes back as message and fields, whatever stands in the values."""
    message = " ".join(words)
    line = " ".join([message, *(f"{name}={json.dumps(text)}" for name, text in fields.items())])
    found = take_apart(TIME + " INF " + line)
    assert found.message == message
    assert dict(found.fields) == {"time": TIME, **fields}


@given(st.data())
def test_chunks_do_not_matter(data: st.DataObject) -> None:
    """However a stream is cut into chunks, the same lines are understood in the same way."""
    lines = [
        TIME + " INF Registered tunnel connection connIndex=0 location=a protocol=quic",
        '{"level":"error","message":"Unable to establish connection.","error":"x"}',
        "panic: runtime error",
        "é café",
    ]
    stream = ("\n".join(lines) + "\n").encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    splitter = LineSplitter()
    edges = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    found = [line.decode() for begin, end in edges for line in splitter.feed(stream[begin:end])]
    assert [parse_line("stderr", line) for line in found] == [parse_line("stderr", line) for line in lines]


@pytest.mark.parametrize("text", [' a="', " a=", ' a="" !', " =", '"', "\\", "{", "[", ' a="\\" b='])
def test_hostile_lines_cost_little(text: str) -> None:
    """No pattern makes the time grow faster than the line: 64 KiB of it take far less than a second."""
    for line in (TIME + " INF " + text * (65536 // len(text)), text * (65536 // len(text))):
        begin = time.process_time()
        parse_line("stderr", line)
        assert time.process_time() - begin < 1.0


@pytest.mark.parametrize("text", ['{"a":' * 20_000, '{"message":' + "[" * 900 + "]" * 900 + "}", '{"a":' + "9" * 5000 + "}"])
def test_deep_and_huge_json_is_only_text(text: str) -> None:
    """JSON that Python refuses to read, for its depth or its numbers, stays a line of text."""
    assert parse_line("stderr", text).level == "info"


def test_stdout_is_usage_text() -> None:
    """The client writes nothing but usage text to stdout."""
    assert parse_line("stdout", "   --edge value").kind is LineKind.USAGE


def test_noise_is_kept_at_its_own_level_and_marked() -> None:
    """What frightens people and means nothing is marked as such, not dropped and not altered."""
    line = parse_line("stderr", TIME + " ERR no more connections active and exiting")
    assert (line.kind, line.level) == (LineKind.NOISE, "error")
    visitor = parse_line(
        "stderr", TIME + ' ERR Request failed error="stream 5 canceled by remote with error code 0" connIndex=1'
    )
    assert visitor.kind is LineKind.NOISE


@pytest.mark.parametrize("host", ["api.trycloudflare.com", "https", "x"])
def test_the_services_own_name_is_no_tunnel(host: str) -> None:
    """A box or an error that names the quick-tunnel service is never taken for the URL."""
    assert parse_line("stderr", TIME + " INF |  https://" + host + "  |").kind is not LineKind.QUICK_URL
    error = f'failed to request quick Tunnel: Post "https://{host}/tunnel": dial tcp'
    assert parse_line("stderr", error).kind is LineKind.QUICK_FAILED
