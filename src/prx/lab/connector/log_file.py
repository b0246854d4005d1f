"""Keep a log in a file, or in a folder whose file is set aside at 1 MiB; a full disk costs lines, not the tunnel.

In a folder the file is `cloudflared.log`; what was set aside has the time in its name, and the last five are kept. Observed
with cloudflared 2026.8.2 (`--logfile`, `--log-directory`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, TextIO

MAX_BYTES: Final = 1 << 20
_BACKUPS: Final = 5
_NAME: Final = "cloudflared"


class LogFile:
    """A file that lines are appended to. OSError if it cannot be opened; later failures lose lines only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = path.open("a", encoding="utf-8", errors="surrogateescape", buffering=1)

    def write(self, line: str) -> None:
        """Append one line."""
        with suppress(OSError):
            if self._file is not None:
                self._file.write(line)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            if self._file is not None:
                self._file.close()


class LogFolder(LogFile):
    """A file in a folder that lines are appended to; it is set aside when it is full."""

    def __init__(self, folder: Path, *, now: Callable[[], datetime]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._now = now
        super().__init__(folder / f"{_NAME}.log")
        self._size = self._path.stat().st_size

    def write(self, line: str) -> None:
        """Append one line, in a new file if it does not fit into this one."""
        size = len(line.encode("utf-8", "surrogateescape"))
        if self._size and self._size + size > MAX_BYTES:
            self._set_aside()
        self._size += size
        super().write(line)

    def _set_aside(self) -> None:
        stamp = self._now().strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        self.close()
        with suppress(OSError):
            self._path.rename(self._folder / f"{_NAME}-{stamp}.log")
            for old in sorted(self._folder.glob(f"{_NAME}-*.log"))[:-_BACKUPS]:
                old.unlink()
        self._size = 0
        try:
            self._file = self._path.open("a", encoding="utf-8", errors="surrogateescape", buffering=1)
        except OSError:
            self._file = None
