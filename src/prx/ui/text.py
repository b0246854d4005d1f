"""Small pieces of text for people."""

from __future__ import annotations

import textwrap

from prx.core.durations import in_whole_words, in_words

seconds = in_words
"""Write a time span for people; the short name of `prx.core.durations.in_words`."""

whole_seconds = in_whole_words
"""Write an age or a wait for people; the short name of `prx.core.durations.in_whole_words`."""


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
