"""The controlling terminal of this process: whether it has one, whatever its standard streams lead to."""

from __future__ import annotations

import os


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal (tty(4): opening /dev/tty fails with ENXIO if it has none)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
