"""Two requests side by side: what differs is marked, what is alike is there or counted, and nothing is claimed beyond that."""

from __future__ import annotations

import base64
import json
import random
import time
from typing import Any

import pytest

from prx.traffic.compare import Part, compare
from prx.traffic.shown import body_text


def found(**changes: Any) -> dict[str, Any]:
    """Return a request as prx shows it."""
    side = {"version": "HTTP/1.1", "reason": "", "body_cut": False}
    body = changes.pop("body", b"")
    asked = {**side, "headers": changes.pop("headers", []), "body": base64.b64encode(body).decode(), "body_bytes": len(body)}
    return {
        "method": "POST",
        "path": "/hook",
        "status": 200,
        "events": [],
        "request": asked,
        "answer": {**side, "reason": "OK", "headers": [], "body": "", "body_bytes": 0},
    } | changes


def part(parts: list[Part], title: str) -> list[str]:
    """Return the lines of a part with their marks in front."""
    return [f"{line.mark}{line.text}" for line in next(item for item in parts if item.title == title).lines]


def test_each_part_says_what_differs() -> None:
    """Method, status, headers in order and bodies: only what differs is marked, by side."""
    one = found(headers=[["A", "1"], ["B", "2"]], body=b"x\ny\n")
    other = found(method="PUT", status=503, headers=[["B", "2"], ["A", "1"]], body=b"x\nz\n")
    parts = compare(one, other)
    assert part(parts, "request") == ["-POST /hook", "+PUT /hook"]
    assert part(parts, "answer") == ["-200 OK", "+503 OK"]
    assert sorted(part(parts, "headers of the request")) in (["+A: 1", "-A: 1", "B: 2"], ["+B: 2", "-B: 2", "A: 1"])
    assert part(parts, "body of the request") == ["x", "-y", "+z", ""]
    assert all(item.same for item in compare(one, one))


def test_long_parts_are_shown_around_what_differs() -> None:
    """Of many lines that are alike a few are shown, the others are counted."""
    numbers = list(range(100))
    one = found(body=json.dumps(numbers).encode(), headers=[["Content-Type", "application/json"]])
    other = found(body=json.dumps([*numbers[:50], -1, *numbers[51:]]).encode(), headers=[["Content-Type", "application/json"]])
    shown = part(compare(one, other), "body of the request")
    assert shown == ["…49 lines alike", "  48,", "  49,", "-  50,", "+  -1,", "  51,", "  52,", "…48 lines alike"]


def test_bodies_that_are_no_text_are_not_called_alike() -> None:
    """Two pictures that differ are not said to be the same because neither is shown."""
    parts = compare(found(body=b"\xff\x00" * 50), found(body=b"\xfe\x00" * 50))
    assert part(parts, "body of the request") == ["!their bytes differ, though not in what is shown here"]


def test_what_strangers_wrote_is_one_line() -> None:
    """Escapes and line ends in headers make no line of their own."""
    parts = compare(found(headers=[["A", "1\n\x1b[2J-gone"]]), found())
    assert part(parts, "headers of the request") == ["-A: 1 -gone"]


def test_the_worst_bodies_are_compared_in_time() -> None:
    """Two bodies of lines that are alike here and there do not take forever."""
    chance = random.Random(0)
    one, other = (found(body="\n".join(chance.choices("ab", k=400)).encode()) for _ in range(2))
    assert not next(item for item in compare(one, other) if item.title == "body of the request").same


@pytest.mark.parametrize("header", [["A", ""], ["Cookie", "a=1"], ["X-One", "1"]])
@pytest.mark.parametrize(("fewer", "differs"), [(0, True), (1, False), (19_000, False)])
def test_a_visitor_with_thousands_of_headers_holds_up_no_dashboard(header: list[str], fewer: int, differs: bool) -> None:
    """As many as one answer holds, all alike, are compared as far as a reader would look; what is beyond is counted."""
    many = [header] * 20_000
    others = [*many[: len(many) - fewer - 1], ["Z", "other"]] if differs else many[: len(many) - fewer]
    began = time.thread_time()
    parts = compare(found(headers=many), found(headers=others))
    assert time.thread_time() - began < 5  # all of them against each other take minutes
    headers = next(item for item in parts if item.title == "headers of the request")
    assert (headers.same, headers.lines[-1].text) == (False, "19600 more lines are not compared")


@pytest.mark.parametrize(("more", "words"), [(1, "1 more line is not compared"), (2, "2 more lines are not compared")])
def test_what_is_not_compared_is_counted(more: int, words: str) -> None:
    """One line that is left out is called so, as several are."""
    headers = [["X", str(number)] for number in range(400 + more)]
    assert part(compare(found(headers=headers), found()), "headers of the request")[-1] == f"!{words}"


@pytest.mark.parametrize("charset", ["utf-16", "utf-16le", "utf-32", "ucs-2"])
@pytest.mark.parametrize("text", ["a word", "W\u00f6rter", "even"])
def test_a_body_that_is_called_wide_and_is_not_is_read_as_it_is(charset: str, text: str) -> None:
    """A head that names UTF-16 or UTF-32 for a body in ASCII or UTF-8 does not make rubbish of it, nor does a cut letter."""
    kind = ["Content-Type", f"text/plain; charset={charset}"]
    side = found(headers=[kind], body=text.encode())["request"]
    assert body_text(side).lines == (text,)
    cut = found(headers=[kind], body=(text * 10).encode() + b"\xc3")["request"]
    assert body_text(cut).lines[0].startswith(text * 10)
    wide = found(headers=[["Content-Type", "text/plain; charset=utf-16le"]], body=text.encode("utf-16-le"))["request"]
    assert body_text(wide).lines == (text,)
