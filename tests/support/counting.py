"""How much is searched: what is read in small pieces is to be searched once."""

from __future__ import annotations

import re
from typing import Any


class Counting:
    """A pattern that counts the bytes that it was given to search."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.bytes = 0
        self._pattern = pattern

    def search(self, buffer: bytes, begin: int = 0) -> Any:
        """Search, and count."""
        self.bytes += len(buffer) - begin
        return self._pattern.search(buffer, begin)
