"""Hooks whose program is not there: a typing mistake that would come to light with the first new URL only."""

from __future__ import annotations

import enum
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from prx.config.schema import Config
from prx.core.value import Value, value_class
from prx.files.search import which


class DefectKind(enum.Enum):
    """Why the program of a hook cannot be run."""

    QUOTES = enum.auto()  # the command cannot be split into words
    NOT_IN_PATH = enum.auto()  # which may be another one where prx runs
    ABSENT = enum.auto()
    NO_FILE = enum.auto()  # a folder, or something else
    NOT_EXECUTABLE = enum.auto()
    NOT_FOR_US = enum.auto()  # executable, but not by this user


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Defect(Value):
    """What is wrong with `program`, as the command names it; `path`: where it was looked for; `why`: the system's words."""

    kind: DefectKind
    program: str = ""
    path: Path = Path()
    why: str = ""


_WARNINGS = {
    DefectKind.NOT_IN_PATH: "there is no program {0.program!r} in PATH",
    DefectKind.ABSENT: "there is no file {0.path}",
    DefectKind.NOT_EXECUTABLE: "{0.path} is not executable: chmod +x {0.path}",
    DefectKind.NOT_FOR_US: "{0.path} is not executable: chmod +x {0.path}",
}


def absent_programs(config: Config, folder: Path) -> Iterator[str]:
    """Yield a warning for each command of a hook that is not found from `folder`, or cannot be run."""
    for tunnel, settings in config.tunnels.items():
        for key in ("on_url", "on_change"):
            for text in getattr(settings, key):
                defect = defect_of(text, folder)
                if defect is not None and defect.kind in _WARNINGS:  # else the hook says what is wrong when it is run
                    yield f"{tunnel}: {key}: {_WARNINGS[defect.kind].format(defect)}"


def defect_of(command: str, folder: Path) -> Defect | None:
    """Return what is wrong with the program of a hook; None if nothing is, or the hook is a URL. Nothing is executed."""
    if "://" in command.partition(" ")[0]:
        return None
    try:
        program = shlex.split(command)[0]
    except (ValueError, IndexError):
        return Defect(DefectKind.QUOTES)
    if os.sep not in program:
        return None if which(program) else Defect(DefectKind.NOT_IN_PATH, program)
    path = folder / program
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return Defect(DefectKind.ABSENT, program, path, (error.strerror or str(error)).lower())
    if not stat.S_ISREG(mode):
        return Defect(DefectKind.NO_FILE, program, path)
    if not mode & 0o111:
        return Defect(DefectKind.NOT_EXECUTABLE, program, path)
    return None if os.access(path, os.X_OK) else Defect(DefectKind.NOT_FOR_US, program, path)
