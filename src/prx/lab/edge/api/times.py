"""Times as the API writes them: RFC 3339, UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Write seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def maybe(seconds: float | None) -> str | None:
    """Write seconds since 1970; None if there is no such time."""
    return None if seconds is None else rfc3339(seconds)
