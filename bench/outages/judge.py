"""What must hold between prx and cloudflared alone."""

from __future__ import annotations

from typing import Final

from bench.outages.results import NEVER, Row

TOLERANCE: Final = 5.0  # seconds that prx may serve later, between medians


def faults(prx: Row, bare: Row) -> list[str]:
    """List what prx does worse than it may, in words; nothing if all is well."""
    found = []
    if prx.kept * bare.count < bare.kept * prx.count:
        found.append(f"keeps the URL in {prx.kept} of {prx.count}, bare in {bare.kept} of {bare.count}")
    if prx.back == NEVER:
        found.append("never comes back")
    elif prx.back > bare.back + TOLERANCE:
        found.append(f"serves {prx.back - bare.back:.1f} s later than bare")
    return found
