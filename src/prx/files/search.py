"""Find a program in PATH as `shutil.which` does, without its module: that loads all formats of archives, half a MiB."""

from __future__ import annotations

import os
from collections.abc import Iterator


def which(name: str, *, path: str | None = None, mode: int = os.F_OK | os.X_OK) -> str | None:
    """Return the path of the first file called `name` in the folders of `path` that passes access(2) with `mode`.

    `path` is that of this process if it is None. A name with a slash is not searched. An empty folder is the current one.
    """
    return next((found for found in _candidates(name, path) if _is_usable(found, mode)), None)


def _candidates(name: str, path: str | None) -> Iterator[str]:
    if os.sep in name:
        yield name
        return
    searched = os.environ.get("PATH", os.defpath) if path is None else path
    if searched:
        yield from (os.path.join(folder, name) for folder in searched.split(os.pathsep))  # noqa: PTH118 - as PATH has it


def _is_usable(path: str, mode: int) -> bool:
    try:
        return os.access(path, mode) and not os.path.isdir(path)  # noqa: PTH112 - as above
    except ValueError:  # a NUL byte
        return False
