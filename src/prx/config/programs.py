"""Hooks whose program is not there: a typing mistake that would come to light with the first new URL only."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from prx.config.schema import Config
from prx.files.search import which


def absent_programs(config: Config, folder: Path) -> Iterator[str]:
    """Yield a warning for each command of a hook that is not found from `folder`, or cannot be run."""
    for tunnel, settings in config.tunnels.items():
        for key in ("on_url", "on_change"):
            for text in getattr(settings, key):
                if problem := _problem(text, folder):
                    yield f"{tunnel}: {key}: {problem}"


def _problem(text: str, folder: Path) -> str:
    try:
        program = "" if "://" in text.split(maxsplit=1)[0] else shlex.split(text)[0]
    except (ValueError, IndexError):
        return ""  # when it is run the hook says what is wrong with its words
    if not program:
        return ""
    if os.sep not in program:
        return "" if which(program) else f"there is no program {program!r} in PATH"
    path = folder / Path(program)
    if not path.exists():
        return f"there is no file {path}"
    return "" if path.is_dir() or os.access(path, os.X_OK) else f"{path} is not executable: chmod +x {path}"
