"""Report which program a child runs if it is another one than the last child of the tunnel ran."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path


class LastProgram:
    """What the last child of a tunnel ran."""

    def __init__(self) -> None:
        self._seen: tuple[object, ...] = ()
        self._version = ""

    async def change(self, seen: tuple[object, ...], version: str) -> str:
        """Take in what the next child runs; return what to say of it if that is another program, empty if not.

        `seen` is its path and what changes with the file; empty if it cannot be read. `version`: as it says it.
        """
        before, old = self._seen, self._version
        if seen:
            self._seen, self._version = seen, version
        if not seen or not before or seen == before:
            return ""
        digest = await _sha256(str(seen[0]))
        return f"the connector is another program now: {version or 'of unknown version'}, before {old or 'unknown'}{digest}"


async def _sha256(path: str) -> str:
    """Return the words on the checksum of a program, empty if it cannot be read; a program has some 40 MB, so in a thread."""
    try:
        digest = await asyncio.to_thread(lambda: hashlib.sha256(Path(path).read_bytes()).hexdigest())
    except (OSError, RuntimeError, MemoryError):
        return f" ({path})"
    return f" ({path}, sha256 {digest})"
