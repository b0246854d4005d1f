"""Numbers that others have written, in a header, a path, an answer; and numbers in words.

Whatever stands there, reading them raises nothing.

`str.isdigit` is true of digits that `int` does not take, and `int` refuses thousands of them: neither is left to chance.
"""

from __future__ import annotations


def whole(text: str | bytes | None, digits: int = 18) -> int | None:
    """Return the number that `text` writes with ASCII digits alone, at most so many of them; None if it is anything else."""
    if not text or len(text) > digits or not text.isascii() or not text.isdigit():
        return None
    return int(text)


def counted(number: int, what: str) -> str:
    """Return how many of something there are, in words: `what` is the singular of a noun whose plural ends in s."""
    return f"{number} {what}" + ("" if number == 1 else "s")
