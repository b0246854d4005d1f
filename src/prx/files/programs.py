"""Programs that prx runs: judged by the rule for files, as they are found."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from prx.files.reading import require_trusted
from prx.files.rule import Claim
from prx.files.walk import walked

_SHELL: Final = re.compile(r"(?:ba|da|z|k|fi|)sh")
_LANGUAGE: Final = re.compile(r"python[\d.]*|pypy[\d.]*|node|deno|bun|ruby|perl|php|lua[\d.]*|pwsh|uv")
_SHELL_TEXT: Final = re.compile(r"-[a-zA-Z]*c")  # -c COMMAND: the next word is no file
_LANGUAGE_TEXT: Final = re.compile(r"-[a-zA-Z]*[cmepr]")  # -c and -e TEXT, -m MODULE
_NAMING: Final = "write its whole path"


def require_program(program: str, *, folder: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
    """Raise FileRefusedError if the rule speaks against running the file `program`, OSError if it cannot be examined.

    An absolute path was named by the user, or by their PATH. A relative one was found: in `folder`, or in the current one.
    """
    absolute = program.startswith("/")
    place = program if absolute or folder is None else os.fspath(folder / program)
    with walked(place) as found:
        found.require_file()
        require_trusted(found.way, place, Claim.NAMED if absolute else Claim.FOUND, environ=environ, naming=_NAMING)


def require_command(argv: Sequence[str], folder: Path, *, environ: Mapping[str, str] | None = None) -> None:
    """Raise FileRefusedError if the script that `argv` hands to an interpreter must not be run.

    `sh ./hook.sh` runs what lies in `folder` as `./hook.sh` does. A missing script is left for the interpreter to say.
    """
    script = script_of(argv)
    if script and (folder / script).exists():
        require_program(script, folder=folder, environ=environ)


def script_of(argv: Sequence[str]) -> str:
    """Return the file that a command line hands to an interpreter to run; empty if it hands none."""
    name = os.path.basename(argv[0]) if argv else ""  # noqa: PTH119 - text
    text = _SHELL_TEXT if _SHELL.fullmatch(name) else _LANGUAGE_TEXT if _LANGUAGE.fullmatch(name) else None
    if text is None:
        return ""
    for word in argv[1:]:
        if text.fullmatch(word):
            return ""
        if not word.startswith("-") and word != "run":
            return word
    return ""
