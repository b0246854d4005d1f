"""A service that sends in small pieces, or without end, costs the copy no more than its bytes, and is read all the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest
from tests.runtime.probes.odd_answers import ODD_ANSWERS, Odd
from tests.support.counting import Counting
from tests.traffic.test_tee import seen

from prx.runtime.probes.head import split
from prx.traffic import framing as framing_module
from prx.traffic import tee as tee_module
from prx.traffic.exchange import INTERIM
from prx.traffic.framing import HEAD_LIMIT, Data, End, Framing, Head, Piece, Raw, parse_head
from prx.traffic.tee import SERVICE, VISITOR

GET = b"GET / HTTP/1.1\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def read(pieces: Iterable[bytes]) -> tuple[list[Piece], bytes]:
    """Return what an answer in pieces is: what is no data in its order, and the data."""
    reader = Framing(of_requests=False)
    reader.expect(b"GET")
    found = [piece for data in pieces for piece in reader.feed(data)] + list(reader.close())
    data = b"".join(piece.data for piece in found if isinstance(piece, Data | Raw))
    return [piece for piece in found if not isinstance(piece, Data | Raw)], data


@pytest.mark.parametrize("odd", [odd for odd in ODD_ANSWERS if len(odd.raw) < 1000], ids=lambda odd: odd.name)
def test_an_answer_is_the_same_in_pieces(odd: Odd) -> None:
    """However it is cut, an odd answer is read as the whole one."""
    whole = read([odd.raw])
    for size in (1, 2, 3, 5):
        assert read(odd.raw[at : at + size] for at in range(0, len(odd.raw), size)) == whole


@pytest.mark.parametrize("line", [b"X: a\r\n", b"X: a\n", b"a"], ids=["lines", "bare LF", "one line"])
def test_a_head_in_small_pieces_is_searched_once(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is searched once for the end of the head, not again with every piece that follows."""
    counting = Counting(framing_module._END)
    monkeypatch.setattr(framing_module, "_END", counting)
    found, _ = read([b"HTTP/1.1 200 OK\r\nX: y\r\n", *([line] * 1000), b"\r\n\r\n"])
    assert found
    assert counting.bytes < 8 * 1000 + 2 * 1000 * len(line)


async def test_an_event_in_small_pieces_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream whose events come byte by byte is read like any other."""
    counting = Counting(tee_module._BLANK)
    monkeypatch.setattr(tee_module, "_BLANK", counting)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    stream = b"data: " + b"x" * 2000 + b"\r\n\r\n" + b"data: y\n\n"
    pieces = [(SERVICE, stream[at : at + 1]) for at in range(len(stream))]
    exchanges, _ = await seen((VISITOR, GET), (SERVICE, head), *pieces)
    assert [len(message.data) for message in exchanges[0].messages] == [2006, 7]
    assert counting.bytes < 8 * len(stream)


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a piece of work, the least of a few tries."""
    return min(_once(work) for _ in range(5))


def _once(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


@pytest.mark.parametrize(
    "read",
    [
        lambda raw: parse_head(raw, request=False),
        lambda raw: parse_head(raw.replace(b"\r\n", b"\n"), request=False),
        lambda raw: parse_head(raw.replace(b"HTTP/1.1 200 OK", b"GET / HTTP/1.1"), request=True),
        split,
    ],
    ids=["the copy of an answer", "with bare LF", "of a request", "a probe"],
)
def test_a_header_that_is_folded_without_end_costs_its_length(read: Callable[[bytes], object]) -> None:
    """Its parts are joined once: sixteen times as many take about sixteen times as long, not 256."""
    few, many = (b"HTTP/1.1 200 OK\r\nX: y" + b"\r\n zz" * count + b"\r\n\r\n" for count in (10_000, 160_000))
    assert read(few)
    assert processor_seconds(lambda: read(many)) < 50 * processor_seconds(lambda: read(few))


async def test_interim_answers_without_end_are_not_kept_without_end() -> None:
    """The first ones are kept, and the answer behind them is read."""
    many = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000
    exchanges, _ = await seen((VISITOR, GET), (SERVICE, many), (SERVICE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    assert exchanges[0].interim == [103] * INTERIM
    assert exchanges[0].status == 200


def test_trailers_without_end_are_not_kept_without_end() -> None:
    """What is longer than any head is no trailer."""
    lines = HEAD_LIMIT // 500 + 2
    reader = Framing(of_requests=False)
    found = [piece for part in [CHUNKED, b"0\r\n", *([b"X: " + b"a" * 500 + b"\r\n"] * lines)] for piece in reader.feed(part)]
    assert any(isinstance(piece, Raw) and "trailers" in piece.why for piece in found)


@pytest.mark.parametrize("zeros", [0, 60, 5000])
def test_a_length_is_its_value_however_many_digits_it_has(zeros: int) -> None:
    """Zeros before a length change nothing, for answers and for requests that a gate judges."""
    length = b"0" * zeros + b"2"
    assert read([b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\nok"])[1] == b"ok"
    reader = Framing(of_requests=True)
    head, *_, end = reader.feed(b"POST / HTTP/1.1\r\nContent-Length: " + length + b"\r\n\r\nok")
    assert isinstance(head, Head)
    assert not head.doubts
    assert isinstance(end, End)
    assert end.whole
    assert reader.between
