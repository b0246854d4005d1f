"""A hook that is a command: run without a shell, in an environment of its own.

The command line is split into words as a shell would, and nothing else of a shell happens: no variables, no pipes. The change
is in the environment and, as JSON, on stdin. The child is run like any child of prx (`prx.runtime.process.child`), in a group
of its own that ends with it: what a hook leaves in the background is killed when the hook ends.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prx.core.errors import with_hint
from prx.core.launch import SECRET_PATH, Launch
from prx.core.shortage import lack_of
from prx.files import FileRefusedError
from prx.files.programs import require_command, require_program
from prx.runtime.hooks.in_child import run_to_end
from prx.runtime.hooks.kinds import HookError, Message
from prx.runtime.process.spawn import SpawnError, find_program

TIMEOUT = 30.0  # seconds
_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")
_KEPT_LINES = 10  # of the output, shown when it fails
_KEPT_CHARACTERS = 300  # of each

# Children of prx have no stdin; this fixed line opens one for the command, whose words it passes on unchanged.
_WITH_STDIN = ("/bin/sh", "-c", 'exec "$@" <"$0"', SECRET_PATH)


@dataclass(frozen=True, slots=True)
class CommandHook:
    """A command line, run in `folder` with what `environ` has of the few variables that a program needs."""

    text: str
    folder: Path
    environ: Mapping[str, str] = field(compare=False)
    timeout: float = TIMEOUT

    @property
    def label(self) -> str:
        """Name the program, without its arguments."""
        return self.text.split(maxsplit=1)[0]

    async def deliver(self, change: Message) -> None:
        """Run the command; it must end with exit code 0 in time, else it is killed with its group."""
        end, tail = await run_to_end(self._launch(change), self.timeout, lines=_KEPT_LINES)
        if end is None:
            raise HookError(f"still running after {self.timeout:g} s, so it was killed{_output(tail)}")
        if end.code != 0:
            how = f"exit code {end.code}" if end.code is not None else f"killed by signal {end.signal}"
            raise HookError(f"{how}{_output(tail)}")

    def _launch(self, change: Message) -> Launch:
        env = {name: self.environ[name] for name in _INHERITED if name in self.environ}
        env |= change.variables()
        try:
            program, *arguments = shlex.split(self.text)
        except ValueError as error:
            raise HookError(f"cannot be split into words: {str(error).lower()}", permanent=True) from error
        if not program:
            raise HookError("names no program: its first word is empty", permanent=True)
        if os.sep in program:
            self._require_trusted([program, *arguments])
            program = str(self.folder.absolute() / program)  # the shell below starts in the folder, which may be "."
            program = _find(program, env)
        else:
            program = _find(program, env)
            self._require_trusted([program, *arguments])
        return Launch((*_WITH_STDIN, program, *arguments), env, change.to_json(), self.folder)

    def _require_trusted(self, argv: list[str]) -> None:
        """Raise HookError if the program, or the script that it is given, may have been put there by others."""
        try:
            require_program(argv[0], folder=self.folder, environ=self.environ)
            require_command(argv, self.folder, environ=self.environ)
        except FileRefusedError as error:
            raise HookError(with_hint(f"not run: {error.message}", error.hint), permanent=True) from error
        except OSError as error:
            if lack := lack_of(error):  # it was not judged: then it is not run
                raise HookError(with_hint(f"not run: it cannot be examined: {error.strerror}", lack.hint)) from error
            # it is not there, or not ours to run: that is reported when it is started


def _find(program: str, env: Mapping[str, str]) -> str:
    try:
        return find_program(Launch((program,), env))
    except SpawnError as error:
        raise HookError(error.message, permanent=error.permanent) from error


def _output(tail: Sequence[bytes]) -> str:
    lines = [line.decode("utf-8", "replace")[:_KEPT_CHARACTERS] for line in tail]
    return "".join(f"\n{line}" for line in lines if line.strip())
