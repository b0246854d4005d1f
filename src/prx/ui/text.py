"""Small pieces of text for people."""

from __future__ import annotations

from typing import Final

from prx.core.durations import in_words

PROTOCOLS: Final = {"quic": "QUIC", "http2": "HTTP/2"}
"""What the protocols towards the edge are called."""


seconds = in_words
"""Write a time span for people; the short name of `prx.core.durations.in_words`."""
