"""Report which program a child runs if it is another one than the last child of the tunnel ran."""

from __future__ import annotations

import asyncio
import hashlib

from prx.files.errors import FileRefusedError
from prx.files.walk import walked


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
        digest = await asyncio.to_thread(_digest_of, path)
    except (OSError, FileRefusedError, RuntimeError):
        return f" ({path})"
    return f" ({path}, sha256 {digest})"


def _digest_of(path: str) -> str:
    with walked(path) as found, open(found.open(), "rb") as file:  # noqa: PTH123 - by descriptor
        return hashlib.file_digest(file, "sha256").hexdigest()
