"""What must hold of this process before it begins: no memory dump, a current folder, no secret in what libraries log."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
from pathlib import Path

from prx.core.errors import UsageError, refused
from prx.core.shortage import lacks_memory
from prx.ui.errors import without_secrets

_PR_SET_DUMPABLE = 4  # prctl(2)


def forbid_dumps() -> None:
    """Forbid core dumps and ptrace of this process (Linux; elsewhere nothing is done). Children that exec are not affected."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def require_folder() -> None:
    """Raise UsageError if the current folder is gone: the Cap'n Proto library would abort the whole process."""
    try:
        Path.cwd()
    except OSError as error:
        words, helps = "the current folder does not exist any more", "change into another one: cd ~"
        raise refused(words, error, hint=helps, kind=UsageError) from None


class _Quiet(logging.Formatter):
    """Formats a record without its secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines."""
        return without_secrets(super().format(record))


def guard_logging() -> None:
    """Take secrets out of what libraries log to stderr, such as asyncio's word on a failed task."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Quiet())


def guard_threads() -> None:
    """Have a thread that ends as there is no memory say so in words; what else ends one is reported with its traceback."""
    usual = threading.excepthook

    def report(ended: threading.ExceptHookArgs) -> None:
        if ended.exc_value is not None and lacks_memory(ended.exc_value):
            os.write(2, b"error: this machine gives prx no more memory\n")
        else:
            usual(ended)

    threading.excepthook = report
