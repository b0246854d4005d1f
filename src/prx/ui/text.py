"""Small pieces of text for people."""

from __future__ import annotations

from prx.core.durations import in_words

seconds = in_words
"""Write a time span for people; the short name of `prx.core.durations.in_words`."""
