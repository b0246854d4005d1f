"""What libraries log to stderr, without secrets; a module of its own, so that `prx url` need not import `logging`."""

from __future__ import annotations

import logging

from prx.cli.ending import without_secrets


class _Quiet(logging.Formatter):
    """Formats a record without its secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines."""
        return without_secrets(super().format(record))


def guard_logging() -> None:
    """Take secrets out of what libraries log to stderr, such as asyncio's word on a failed task."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Quiet())
