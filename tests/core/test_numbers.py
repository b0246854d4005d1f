"""Numbers that others have written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.core.numbers import counted, whole


@given(st.text() | st.binary() | st.none() | st.integers(0).map(lambda number: str(number) * 9))
def test_nothing_that_others_write_is_raised(text: str | bytes | None) -> None:
    """A number comes back, or None; what comes back is what was written."""
    number = whole(text)
    assert number is None or (text and number == int(text))


@pytest.mark.parametrize("text", ["\u00b2", "\u0661", "9" * 5000, "+1", "-1", "1_0", " 1", "1.0", "", None, b"\xb2"])
def test_what_is_no_number(text: str | bytes | None) -> None:
    """Digits of other scripts, signs, spaces and what is too long for any use."""
    assert whole(text) is None


def test_what_is_one() -> None:
    """Zeros in front count as digits; the bound is the caller's."""
    assert (whole("0"), whole(b"0042"), whole("9" * 18), whole("1000", digits=3)) == (0, 42, 10**18 - 1, None)


@pytest.mark.parametrize(("number", "words"), [(0, "0 probes"), (1, "1 probe"), (2, "2 probes"), (1000, "1000 probes")])
def test_one_thing_is_not_called_several(number: int, words: str) -> None:
    """A count of one has the singular, in whatever report."""
    assert counted(number, "probe") == words
