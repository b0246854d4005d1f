"""In what two requests and their answers differ, line by line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal

from prx.core.numbers import counted
from prx.logs.text import printable
from prx.traffic.shown import body_text

Mark = Literal["", "-", "+", "…", "!"]
_AROUND: Final = 2  # lines that are alike and shown beside one that is not
_LONGEST: Final = 2_000  # characters of a line that are shown
_MOST: Final = 400  # lines of a part that are compared: of lines that are all alike the time grows with the square


@dataclass(frozen=True, slots=True)
class Line:
    """A line: alike ("" as mark), only in the first ("-"), only in the second ("+"), left out ("…"), a remark ("!")."""

    mark: Mark
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an exchange, such as the headers of its answer."""

    title: str
    same: bool
    lines: tuple[Line, ...]


def compare(one: dict[str, Any], other: dict[str, Any]) -> list[Part]:
    """Return the parts of two requests as `prx requests show --json` prints them. What is hidden in both counts as alike."""
    parts = [_part("request", [_first(one)], [_first(other)])]
    parts += _sides("request", one["request"], other["request"])
    parts.append(_part("answer", [_status(one)], [_status(other)]))
    parts += _sides("answer", one["answer"], other["answer"])
    parts.append(_part("messages", _messages(one), _messages(other)))
    return [part for part in parts if part.lines]


def _first(found: dict[str, Any]) -> str:
    return printable(f"{found['method']} {found['path']}")


def _status(found: dict[str, Any]) -> str:
    return printable(f"{found['status'] or 'none'} {(found['answer'] or {}).get('reason', '')}").rstrip()


def _sides(name: str, one: dict[str, Any] | None, other: dict[str, Any] | None) -> Iterator[Part]:
    yield _part(f"headers of the {name}", _headers(one), _headers(other))
    before, after = (body_text(side) if side else None for side in (one, other))
    part = _part(f"body of the {name}", before.lines if before else (), after.lines if after else ())
    if part.same and _bytes(one) != _bytes(other):
        remark = "their bytes differ, though not in what is shown here"
        part = Part(part.title, same=False, lines=(*part.lines, Line("!", remark)))
    yield part


def _bytes(side: dict[str, Any] | None) -> tuple[str, int]:
    return ("", 0) if side is None else (side["body"], side["body_bytes"])


def _headers(side: dict[str, Any] | None) -> list[str]:
    return [printable(f"{name}: {value}") for name, value in side["headers"]] if side else []


def _messages(found: dict[str, Any]) -> list[str]:
    return [printable(f"{item['sender']} {item['kind']}: {item['data']}") for item in found["events"]]


def _part(title: str, one: Sequence[str], other: Sequence[str]) -> Part:
    one, other = tuple(one), tuple(other)
    if one == other:
        return Part(title, same=True, lines=tuple(_alike(one, is_first=True, is_last=True)))
    lines: list[Line] = []
    more = max(len(one), len(other)) - _MOST
    one, other = one[:_MOST], other[:_MOST]
    steps = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    for number, (step, begin, end, to_begin, to_end) in enumerate(steps):
        if step == "equal":
            lines += _alike(one[begin:end], is_first=number == 0, is_last=number == len(steps) - 1)
        else:
            lines += [Line("-", _cut(text)) for text in one[begin:end]]
            lines += [Line("+", _cut(text)) for text in other[to_begin:to_end]]
    if more > 0:
        lines.append(Line("!", f"{counted(more, 'more line')} {'is' if more == 1 else 'are'} not compared"))
    return Part(title, same=False, lines=tuple(lines))


def _alike(texts: Sequence[str], *, is_first: bool, is_last: bool) -> Iterator[Line]:
    """Yield lines that are alike, without those that are far from any other."""
    head, tail = (0 if is_first else _AROUND), (0 if is_last else _AROUND)
    left_out = len(texts) - head - tail
    if left_out <= 1 or (is_first and is_last and len(texts) <= 2 * _AROUND):
        yield from (Line("", _cut(text)) for text in texts)
        return
    yield from (Line("", _cut(text)) for text in texts[:head])
    yield Line("…", f"{left_out} lines alike")
    yield from (Line("", _cut(text)) for text in texts[len(texts) - tail :])


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
