"""Hooks whose program is not there, or must not be run: that would come to light with the first new URL only."""

from __future__ import annotations

import enum
import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from prx.config.schema import Config
from prx.core.shortage import lack_of
from prx.core.value import Value, value_class
from prx.files import FileRefusedError
from prx.files.programs import require_command, require_program
from prx.files.search import which


class DefectKind(enum.Enum):
    """Why the program of a hook cannot be run."""

    QUOTES = enum.auto()  # the command cannot be split into words
    NOT_IN_PATH = enum.auto()  # which may be another one where prx runs
    ABSENT = enum.auto()
    NO_FILE = enum.auto()  # a folder, or something else
    NOT_EXECUTABLE = enum.auto()
    NOT_FOR_US = enum.auto()  # executable, but not by this user
    REFUSED = enum.auto()  # it, or the script that it is given, may have been put there by others


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
    DefectKind.REFUSED: "{0.path} will not be run: {0.why}",
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
        argv = shlex.split(command)
        program = argv[0]
    except (ValueError, IndexError):
        return Defect(DefectKind.QUOTES)
    if os.sep not in program:
        found = which(program)
        return _refused(found, argv, folder) if found else Defect(DefectKind.NOT_IN_PATH, program)
    path = folder / program
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if lack_of(error):  # that is not known
            return None
        return Defect(DefectKind.ABSENT, program, path, (error.strerror or str(error)).lower())
    if not stat.S_ISREG(mode):
        return Defect(DefectKind.NO_FILE, program, path)
    if not mode & 0o111:
        return Defect(DefectKind.NOT_EXECUTABLE, program, path)
    return _refused(program, argv, folder) if os.access(path, os.X_OK) else Defect(DefectKind.NOT_FOR_US, program, path)


def _refused(program: str, argv: Sequence[str], folder: Path) -> Defect | None:
    """Return why the hook will not be run although its program can be; None if nothing speaks against it."""
    try:
        require_program(program, folder=folder)
        require_command(argv, folder)
    except FileRefusedError as error:
        return Defect(DefectKind.REFUSED, argv[0], Path(error.path), error.reason)
    except OSError:
        return None  # that is reported when it is run
    return None
