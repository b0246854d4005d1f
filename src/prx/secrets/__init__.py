"""Where secrets come from, where they are kept, and the type that keeps them from being shown."""

from __future__ import annotations

from prx.secrets.value import Secret

__all__ = ["Secret"]

FILE_NAME = "secrets.enc"  # in the data directory
