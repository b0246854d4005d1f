"""A stored record is one line of JSON that reads back as the same record."""

import json

import pytest

from prx.logs.records import LogRecord, Unfolder, blocks, fold_block, is_below, is_head


def test_round_trip() -> None:
    """Every field survives, line ends and all, on one line."""
    record = LogRecord("2026-11-22T17:12:10Z", "web", "info", "two\nlines ü", "cloudflared", 7, {"ip": "127.0.0.1"})
    line = record.to_json()
    assert "\n" not in line
    assert list(json.loads(line)) == ["seq", "at", "tunnel", "level", "message", "source", "ip"]
    assert LogRecord.from_json(line) == record


@pytest.mark.parametrize(
    ("message", "fields", "words"),
    [
        ("Request failed", {}, "Request failed"),
        ("Request failed", {"error": "refused"}, "Request failed: refused"),
        ("Request failed (×2)", {"error": "refused", "repeated": 2}, "Request failed: refused (×2)"),
        ("", {"error": "refused"}, "refused"),
        ("(×12)", {"error": "refused", "repeated": 12}, "refused (×12)"),
        ("it was refused", {"error": "refused"}, "it was refused"),
        ("", {"error": 5}, ""),
        ("(×2)", {}, "(×2)"),
    ],
)
def test_the_words_of_a_record(message: str, fields: dict[str, object], words: str) -> None:
    """A line has its message, the error that belongs to it, and how many there were, each once and in this order."""
    assert LogRecord("t", "web", "error", message, fields=fields).words == words


def test_fields_never_replace_the_record() -> None:
    """A client that logs a field named "source" cannot pretend to be prx."""
    record = LogRecord("t", "web", "info", "m", "cloudflared", fields={"source": "prx", "seq": 1})
    assert json.loads(record.to_json()) == {
        "at": "t", "tunnel": "web", "level": "info", "message": "m", "source": "cloudflared"
    }  # fmt: skip


@pytest.mark.parametrize("line", ["", "{", "[]", "3", '{"at": 1}', '{"at":"t","tunnel":"w","level":"info"}'])
def test_not_a_record(line: str) -> None:
    """Anything else is refused with one kind of error."""
    with pytest.raises(ValueError, match="xpect"):
        LogRecord.from_json(line)


@pytest.mark.parametrize(
    ("line", "level", "message", "fields"),
    [
        ('{"level":"warn","message":"m","time":"t"}', "warn", "m", {"level": "warn", "time": "t"}),
        ('{"level":"fatal","message":"m"}', "info", "m", {}),
        ('{"message":7}', "info", '{"message":7}', {}),
        ("bare", "info", "bare", {}),
        ("[" * 100_000, "info", "[" * 100_000, {}),
        ("", "info", "", {}),
    ],
)
def test_many_lines_in_one_record_are_records_again(line: str, level: str, message: str, fields: dict[str, str]) -> None:
    """Each line that a child wrote is a record of its own for readers, whatever it holds."""
    stored = LogRecord("2026-11-22T17:12:10.123Z", "web", "debug", "", "cloudflared", fields={"lines": f"first\n{line}"})
    first, second = Unfolder().take(stored.to_json().encode())
    assert (first.message, first.tunnel, first.source) == ("first", "web", "cloudflared")
    assert (second.level, second.message) == (level, message)
    assert {key: value for key, value in fields.items() if key != "level"}.items() <= second.fields.items()
    assert next(iter(Unfolder().take(second.to_json().encode()))).message == second.message


BLOCK = b'{"level":"warn","message":"first"}\n{"message":"second","n":2}\nbare\n{"level":"debug","message":"last"}\n'


def test_lines_of_json_stand_below_one_record_as_they_are() -> None:
    """Many lines of a child are stored as it wrote them, each as one line of JSON, and are records again for readers."""
    stored, count = fold_block("2026-11-22T17:12:10.123Z", "web", "cloudflared", BLOCK)
    head, *below = stored.split(b"\n")
    assert (count, json.loads(head)["lines"]) == (4, 4)
    assert below == [b" " + line for line in BLOCK.splitlines()]
    assert [is_below(line) for line in (head, *below)] == [False, True, True, True, True]
    assert is_head(head)
    unfolder = Unfolder()
    records = [record for line in stored.split(b"\n") for record in unfolder.take(line)]
    assert [(record.level, record.message) for record in records] == [
        ("warn", "first"), ("info", "second"), ("info", "bare"), ("debug", "last")
    ]  # fmt: skip
    assert {(record.at, record.tunnel, record.source) for record in records} == {
        ("2026-11-22T17:12:10.123Z", "web", "cloudflared")
    }


@pytest.mark.parametrize(
    "block", [b"bare\n", b"\n", b'{"a":1}\nbare\n', b'bare\n{"a":1}\n', b'{\n"a": 1\n}\n', "é ü\n".encode()]
)
def test_other_lines_are_text_in_one_record(block: bytes) -> None:
    """Lines that are not JSON make no line of the file that is not JSON."""
    stored, count = fold_block("t", "web", "cloudflared", block)
    assert count == block.count(b"\n")
    assert json.loads(stored)["lines"] == block.decode().removesuffix("\n")
    assert not is_head(stored)
    assert [record.message for record in Unfolder().take(stored)] == block.decode()[:-1].split("\n")


def test_no_line_of_a_child_can_pass_for_a_record() -> None:
    """A child that writes what prx's own records look like, or the head of others, has written a line of its own."""
    forged = LogRecord("t", "other", "error", "forged", "prx", 1).to_json()
    head = '{"at":"t","tunnel":"x","level":"info","message":"","source":"y","lines":3}'
    block = "".join(f"{line}\n" for line in ('{"message":"a"}', forged, head, '{"message":"b"}'))
    unfolder = Unfolder()
    stored, _ = fold_block("t", "web", "cloudflared", block.encode())
    records = [record for line in stored.split(b"\n") for record in unfolder.take(line)]
    assert {(record.tunnel, record.source) for record in records} == {("web", "cloudflared")}
    assert [record.message for record in records] == ["a", "forged", "", "b"]


def test_stored_lines_are_taken_in_blocks() -> None:
    """A record and what stands below it belong together; lines whose record is missing do, too."""
    lines = [b" a", b" b", b"{1}", b"{2}", b" c", b" d", b"{3}"]
    assert list(blocks(lines)) == [[b" a", b" b"], [b"{1}"], [b"{2}", b" c", b" d"], [b"{3}"]]
