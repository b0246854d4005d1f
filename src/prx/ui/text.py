"""Small pieces of text for people."""

from __future__ import annotations

import textwrap

from prx.core.durations import in_whole_words, in_words

seconds = in_words
"""Write a time span for people; the short name of `prx.core.durations.in_words`."""

whole_seconds = in_whole_words
"""Write an age or a wait for people; the short name of `prx.core.durations.in_whole_words`."""


def labelled(label: str, text: str, columns: int, label_width: int) -> list[str]:
    """Return a label and what stands beside it in lines of at most `columns`, further ones below where the text began."""
    first = f"  {label:<{label_width}}"
    return textwrap.wrap(
        text,
        max(columns, label_width + 22),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def wrapped(text: str, columns: int, indent: str = "") -> list[str]:
    """Return `text` in lines of at most `columns`, broken between words only: a longer word, such as a URL, stays whole."""
    return textwrap.wrap(
        text,
        max(columns, len(indent) + 20),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
