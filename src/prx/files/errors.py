"""What is raised for a file that must not be used."""

from __future__ import annotations

import os

from prx.core.errors import PermanentError


class FileRefusedError(PermanentError):
    """What lies at `path` is not used: `reason` is what is wrong with it, without the path, `hint` what to do about it."""

    def __init__(self, path: str | os.PathLike[str], reason: str, *, hint: str = "") -> None:
        super().__init__(f"{os.fspath(path)}: {reason}", hint=hint)
        self.path = os.fspath(path)
        self.reason = reason
