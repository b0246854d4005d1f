"""A child's lines: decoded and redacted once, understood, limited, and never lost in silence."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.contexts import shared

from prx.app.log_file import EventLog
from prx.backends.base import LineKind, LogLine
from prx.backends.cloudflare import CloudflareBackend
from prx.config.schema import TunnelSettings
from prx.core.events import Log
from prx.logs.records import Unfolder
from prx.runtime.child_log import BURST, TAIL_LINES, TAIL_SIZE, ChildLog
from prx.runtime.context import TunnelContext
from prx.testing.clock import ManualClock

SECRET = "correct-horse-battery-staple"


class Following:
    """The log of a child, its lines and what was published."""

    def __init__(self, folder: Path) -> None:
        self.context = TunnelContext.create("web", TunnelSettings(), shared(folder, ManualClock()))
        self.context.shared.bus.redactor.add(SECRET)
        self.lines: list[LogLine] = []
        self.logs: list[Log] = []
        self.context.shared.bus.listen(lambda event: self.logs.append(event.fact) if isinstance(event.fact, Log) else None)
        self.log = ChildLog(self.context, self.lines.append)


@pytest.fixture
def following(tmp_path: Path) -> Following:
    """Return one."""
    return Following(tmp_path)


def block_of(lines: list[bytes]) -> bytes:
    """Return lines as they come at once."""
    return b"".join(line + b"\n" for line in lines)


def held_by(thing: object) -> str:
    """Return everything that an object holds of lines, as text."""
    parts: list[Any] = [part for part in vars(thing).values() if hasattr(part, "__iter__")]
    return repr(parts)


@pytest.mark.parametrize(
    "raw",
    [
        f"a bare line with {SECRET}".encode(),
        f'{{"level":"info","message":"m","error":"{SECRET}"}}'.encode(),
        f"2026-11-22T17:08:56Z ERR failed error={SECRET}".encode(),
        b"\xff\xfe " + SECRET.encode() + b"\x1b[31m",
    ],
)
async def test_no_line_is_kept_with_its_secret(following: Following, raw: bytes) -> None:
    """Neither what is published nor what is kept for the end of the child holds a secret, in any format."""
    following.log.take("stderr", raw)
    assert SECRET not in repr(following.lines) + repr(following.logs) + held_by(following.log) + repr(following.log.tail())
    assert "[redacted]" in repr(following.lines)


async def test_a_flood_is_kept_without_secrets_too(following: Following) -> None:
    """Lines beyond the limit are counted, their last words are kept, and none of them outlives the loop's turn as it came."""
    for number in range(int(BURST) + 1000):
        following.log.take("stderr", f"line {number} {SECRET}".encode())
    await asyncio.sleep(0)
    gc.collect()
    assert SECRET not in held_by(following.log)
    assert len(following.lines) == BURST
    tail = following.log.tail()
    assert len(tail) == TAIL_LINES
    assert tail[-1].message == f"line {int(BURST) + 999} [redacted]"
    following.log.report_skipped()
    following.log.report_skipped()
    assert [line.message for line in following.logs if line.level == "warn"] == [
        "1000 lines of the connector's log were skipped: too many at once"
    ]


async def test_the_order_of_the_last_words_is_kept(following: Following) -> None:
    """Lines that were skipped stand where they came."""
    for number in range(int(BURST) + 2):
        following.log.take("stderr", f"line {number}".encode())
    following.context.shared.clock.advance(1)  # type: ignore[attr-defined]
    following.log.take("stderr", b"after")
    assert [line.message for line in following.log.tail()][-3:] == [f"line {int(BURST)}", f"line {int(BURST) + 1}", "after"]


async def test_a_defect_in_reading_lines_is_said(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that a backend cannot read is an error of prx's own, said with its place, and without the line's secrets."""

    def broken(self: object, stream: str, line: str) -> LogLine:
        raise KeyError(SECRET)

    monkeypatch.setattr(CloudflareBackend, "parse_line", broken)
    with pytest.raises(KeyError) as caught:
        following.log.take("stderr", b"x")
    following.log.report_failure(caught.value)
    assert [(line.level, SECRET in line.message) for line in following.logs] == [("error", False)]
    assert "KeyError" in following.logs[0].message


@pytest.mark.parametrize("at_once", [500, 1])
async def test_a_flood_is_in_the_log_file(following: Following, tmp_path: Path, at_once: int) -> None:
    """What comes too fast to be followed, in any pieces, is in the file, in order, without secrets; events have the number."""
    bus = following.context.shared.bus
    lines = [f'{{"level":"warn","message":"line {number}","url":"/?token={SECRET}"}}'.encode() for number in range(20_000)]
    with EventLog(tmp_path / "prx.log", bus.redactor, following.context.clock) as log:
        bus.listen(log.see)
        bus.keep_with(log.keep)
        for start in range(0, len(lines), at_once):
            if at_once == 1:
                following.log.take("stderr", lines[start])
            else:
                assert following.log.take_block("stderr", block_of(lines[start : start + at_once])) == at_once
        following.log.report_skipped()
    stored = (tmp_path / "prx.log").read_bytes()
    assert SECRET.encode() not in stored
    unfolder = Unfolder()
    records = [one for line in stored.splitlines() for one in unfolder.take(line)]
    assert [one.message for one in records if one.source != "prx"] == [f"line {number}" for number in range(20_000)]
    assert {one.level for one in records} == {"warn"}
    assert (
        records[-1].message == f"{20_000 - int(BURST)} lines of the connector's log are in the log file alone: too many at once"
    )
    assert following.log.tail()[-1].message == "line 19999"


async def test_one_line_that_cannot_be_read_costs_no_other(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among lines that came at once, one that a backend cannot read is an error, and the others are read."""
    read = CloudflareBackend.parse_line

    def broken(self: CloudflareBackend, stream: str, line: str) -> LogLine:
        if line == "7":
            raise KeyError(line)
        return read(self, stream, line)

    monkeypatch.setattr(CloudflareBackend, "parse_line", broken)
    with pytest.raises(KeyError):
        following.log.take_block("stderr", block_of([str(number).encode() for number in range(100)]))
    assert len(following.lines) == 99


@pytest.mark.parametrize(
    "words",
    [
        '"message":"Registered tunnel connection"',
        '"message":"Lost connection with the edge"',
        '"message":"Retrying connection in up to 4s"',
        '"error":"connection with edge closed","message":"Serve tunnel error"',
    ],
)
async def test_a_flood_hides_no_verdict(following: Following, words: str) -> None:
    """What tells that a connection came or went is understood among any number of lines that are not followed."""
    following.context.shared.bus.keep_with(lambda _tunnel, _source, block: block.count(b"\n"))
    flood = [f'{{"level":"info","message":"flood {number}"}}'.encode() for number in range(500)]
    for _ in range(20):
        following.log.take_block("stderr", block_of(flood))
    following.lines.clear()
    said = f'{{"level":"info","connIndex":0,{words}}}'.encode()
    following.log.take_block("stderr", block_of([*flood[:250], said, *flood[250:]]))
    assert [line.connection for line in following.lines] == [0]
    assert following.lines[0].kind is not LineKind.OTHER


@pytest.mark.parametrize("at_once", [1, 40, 4000], ids=["line by line", "in small blocks", "in one block"])
@pytest.mark.parametrize("size", [100, 4000, 60_000])
def test_the_last_words_are_bounded_in_size(following: Following, at_once: int, size: int) -> None:
    """However long its lines are, and however they come, a child's last words hold little memory, and the last one whole."""
    lines = [b"%d " % number + b"y" * size for number in range(4000 if size == 100 else 150)]
    for start in range(0, len(lines), at_once):
        following.log.take_block("stderr", block_of(lines[start : start + at_once]))
    tail = [line.message for line in following.log.tail()]
    expected = min(TAIL_LINES, TAIL_SIZE // (size + 5))
    assert tail == [line.decode() for line in lines[-len(tail) :]]
    assert expected - 1 <= len(tail) <= TAIL_LINES
    assert len(held_by(following.log._tail)) < 300_000


@pytest.mark.parametrize("size", [10, 100, 900, 5000])
def test_words_after_a_flood_leave_its_last_ones(following: Following, size: int) -> None:
    """One more line costs the oldest words alone: why a child ended may stand in what came at once before it."""
    following.log.take_block("stderr", b"beyond what is followed\n" * int(2 * BURST))
    flood = [b"%05d " % number + b"y" * size for number in range(max(TAIL_LINES, 3 * TAIL_SIZE // size))]
    following.log.take_block("stderr", block_of(flood))
    lines = [line.decode() for line in flood]
    for number in range(TAIL_LINES):
        lines.append(f"{number} after the flood, and as long as a line may usually be")
        following.log.take("stderr", lines[-1].encode())
        tail = [line.message for line in following.log.tail()]
        assert tail == lines[-len(tail) :]
        assert min(TAIL_LINES, TAIL_SIZE // (size + 6) - 1) <= len(tail) <= TAIL_LINES
    assert len(held_by(following.log._tail)) < 300_000


def test_the_last_word_is_kept_whole_if_it_is_the_longest(following: Following) -> None:
    """A line that is as long as a line may be is among the last words after any others."""
    for _ in range(10):
        following.log.take("stderr", b"panic: " + b"z" * 65_000)
    assert following.log.tail()[-1].message == "panic: " + "z" * 65_000
