"""Durations in Go's notation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.core.durations import format_duration, in_whole_words, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("0s", 0), ("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("1h2m3s", 3723),
        ("-5s", -5), ("+5s", 5), (".5s", 0.5), ("1.s", 1), ("10us", 1e-5), ("10µs", 1e-5), ("7ns", 7e-9),
    ],
)  # fmt: skip
def test_parse(text: str, seconds: float) -> None:
    """A duration means as many seconds as it does for Go."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "abc", "s", "5 s", "5S", "1m 30s", "--5s", "5d", "1e3s", "٣s"])
def test_parse_rejects(text: str) -> None:
    """What Go does not take as a duration is refused."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "less than 1 s"), (1.4, "1 s"), (9.7, "10 s"), (75.2, "75 s"), (200.4, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_ages_and_waits_are_whole_seconds(seconds: float, text: str) -> None:
    """An age or a countdown has no hundredths, which only make it restless."""
    assert in_whole_words(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1, "1s"),
        (64, "1m4s"),
        (240, "4m0s"),
        (3600, "1h0m0s"),
        (1.5, "1.5s"),
        (0.25, "250ms"),
        (1e-5, "10µs"),
        (90.5, "1m30.5s"),
    ],
)
def test_format(seconds: float, text: str) -> None:
    """A number of seconds is written as Go writes it."""
    assert format_duration(seconds) == text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_round_trip(nanoseconds: int) -> None:
    """What is written is read back as the same time."""
    assert parse_duration(format_duration(nanoseconds / 1e9)) == pytest.approx(nanoseconds / 1e9, rel=1e-9, abs=1e-9)
