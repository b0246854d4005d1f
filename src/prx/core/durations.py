"""Read and write durations the way Go does: `30s`, `1m30s`, `1.5h`, `250ms`; and write them for people."""

from __future__ import annotations

import re
from typing import Final

UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5, the micro sign
    "μs": 1e-6,  # U+03BC, the Greek letter
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
LONGEST_SPAN: Final = 36_500 * 86_400.0
"""The longest span, in seconds, that is taken: a hundred years are as good as forever, and end before the year 9999."""

_TERM: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE: Final = re.compile(rf"[-+]?(?:0|(?:{_TERM.pattern})+)")


def parse_duration(text: str) -> float:
    """Return the seconds that a Go duration means.

    `text` is an optional sign and one or more decimal numbers, each with a unit; a bare `0` needs no unit. Raises
    ValueError otherwise (syntax: documentation of Go's `time.ParseDuration`).
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 30s, 1m30s or 250ms")
    seconds = sum(float(term[1]) * UNITS[term[2]] for term in _TERM.finditer(text))
    return -seconds if text.startswith("-") else seconds


def format_duration(seconds: float) -> str:
    """Return the text Go prints for a duration, such as `1m4s`, `4m0s`, `1.5s`, `250ms` or `0s`."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    nanoseconds = round(seconds * 1e9)
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanoseconds < size * 1000:
            return f"{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 10**9)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def in_words(value: float) -> str:
    """Write a time span for people: "0.35 s", "5 s", "12 s", "3 min 20 s", "2 h 5 min", "6 d 4 h"."""
    if value < 10:
        return f"{value:.2f}".removesuffix(".00") + " s"
    if value < 120:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        days, hours = divmod(hours, 24)
        return f"{days} d {hours} h" if hours else f"{days} d"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def in_whole_words(value: float) -> str:
    """Write an age or a wait for people, in whole seconds: "less than 1 s", "5 s", "3 min 20 s"."""
    return "less than 1 s" if value < 1 else in_words(round(value))


def _decimal(value: int, unit: int) -> str:
    """Return value ÷ unit exactly, without trailing zeros."""
    whole, rest = divmod(value, unit)
    digits = str(rest).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{digits}" if rest else str(whole)
