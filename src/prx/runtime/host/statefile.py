"""Keep a small JSON object in a file that is always whole, and never trouble the caller about it.

Reading tolerates everything: a file that is missing, cut short, garbage, too large, a symbolic link, a FIFO or another
else's counts as empty, with one warning. Writing replaces the file in one step (a fresh file in the same folder, fsync,
rename, fsync of the folder), so a crash leaves the old or the new content. When the disk is full the content stays in
memory, and the next `save` or `retry` writes it; until then it is the truth, and `load` does not put the old file in its place.
A file that could not be read for now (no descriptor is left) is not an empty one: see `unread`.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

from prx.core.parsing import parse_json
from prx.core.shortage import lack_of
from prx.files.fingerprint import content_fingerprint
from prx.files.replace import write_whole
from prx.files.walk import kind_of

_SIZE_LIMIT = 1024 * 1024  # a state is a few kilobytes; more is not ours

logger = logging.getLogger(__name__)


class StateFile:
    """Hold one JSON object and its file (mode 0600, in a folder of mode 0700 if it must be made).

    `data` is the truth in memory, `pending`: the file does not have it yet; `problem`: why. `unread`: the
    last `load` could not read for now. `unreadable`: why it could not, for
    now or for good. `durable` is for what has to outlive a power failure; it costs an fsync for each save.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self.data: dict[str, Any] = {}
        self.pending = False
        self.unread = False
        self.unreadable = ""
        self.problem = ""
        self._seen: tuple[int, ...] = ()  # what the file was when it was read last; empty: it is read again
        self._durable = durable

    def load(self) -> dict[str, Any]:
        """Read the file into `data` and return it; {} and a warning if it cannot be used. Never raises.

        What is pending is returned as it is; so is what was known, if the file cannot be read for now, or is still the same.
        """
        if self.pending or (self._seen and self._seen == _look(self.path)):
            return self.data
        self.unread, self.unreadable, self._seen = False, "", ()
        try:
            before = _look(self.path)
            self.data = _parse(_read_private(self.path))
            self._seen = before
        except FileNotFoundError:
            self.data = {}
        except OSError as error:
            self.unread = lack_of(error) is not None
            self.data = self.data if self.unread else {}
            self.unreadable = _reason(error)
            logger.warning("%s is ignored%s: %s", self.path, " for now" if self.unread else "", _reason(error))
        except ValueError as error:
            self.data = {}
            logger.warning("%s is ignored: %s", self.path, _reason(error))
        return self.data

    def save(self, data: dict[str, Any]) -> bool:
        """Make `data` the content; False if it could not be written yet. Never raises for the file system's sake."""
        self.data, self._seen = data, ()
        self.pending = True
        return self.retry()

    def retry(self) -> bool:
        """Write what is pending; True when nothing is pending any more. Warns once per new problem."""
        if not self.pending:
            return True
        try:
            _replace(self.path, json.dumps(self.data, indent=1 if self._durable else None).encode(), durable=self._durable)
        except (OSError, MemoryError) as error:
            reason = _reason(error)
            if reason != self.problem:
                logger.warning("%s cannot be written: %s; it is kept in memory and tried again", self.path, reason)
            self.problem = reason
            return False
        if self.problem:
            logger.info("%s is written again", self.path)
        self.pending, self.problem = False, ""
        return True


def _reason(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


def _look(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written, replaced, or gets another owner or mode; empty if it cannot be seen."""
    try:
        return content_fingerprint(path.lstat())
    except OSError:
        return ()


def _read_private(path: Path) -> bytes:
    # O_NONBLOCK: opening a FIFO must not wait for a writer
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as file:  # noqa: PTH123 - by descriptor
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError(f"expected a regular file, found {kind_of(facts.st_mode)}")
        if facts.st_uid not in {0, os.geteuid()}:
            raise ValueError(f"it belongs to user {facts.st_uid}, expected {os.geteuid()}")
        if facts.st_size > _SIZE_LIMIT:
            raise ValueError(f"it has {facts.st_size} bytes, expected at most {_SIZE_LIMIT}")
        return file.read(_SIZE_LIMIT)


def _parse(content: bytes) -> dict[str, Any]:
    try:
        data = parse_json(content)
    except ValueError as error:
        raise ValueError("expected JSON, found something else") from error
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object, found {type(data).__name__}")  # noqa: TRY004 - bad content
    return data


def _replace(path: Path, content: bytes, *, durable: bool) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, content, durable=durable)
