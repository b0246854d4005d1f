"""Ask a client program for its version, once for each state of its file."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from prx.core.errors import PrxError
from prx.core.launch import Launch
from prx.core.shortage import lack_in, lack_of
from prx.files.fingerprint import content_fingerprint, file_fingerprint
from prx.files.programs import require_program
from prx.files.recent import Recent
from prx.files.search import which
from prx.install.programs import needed_environment
from prx.logs.text import printable
from prx.runtime.process.child import ChildProcess
from prx.runtime.process.spawn import SpawnError

ANSWER_WITHIN = 10.0  # seconds; a Go program answers in 20 ms, a cold disk may take its time

_LONGEST_VERSION = 40  # characters
_LONGEST_WORDS = 100  # characters
_MOST_LINES = 100  # that are kept; a program that does not know --version may write without end

_NATIVE = b"\x7fELF"  # elf(5); what begins otherwise may be a script, and run another program tomorrow

_Key = tuple[object, ...]  # the program, and what its file looks like
_known: dict[_Key, str] = {}
_require_program = Recent(require_program)
_ahead: dict[_Key, _Question] = {}


class VersionMemory(Protocol):
    """What was said by programs that an earlier prx has asked."""

    def version(self, file: str, state: Sequence[int]) -> str:
        """Return what the program in `file` said when it was in this `state`; empty if that is not known."""

    def keep_version(self, file: str, state: Sequence[int], said: str) -> None:
        """Keep what it said."""


async def ask_version(program: Sequence[str], memory: VersionMemory | None = None) -> str:
    """Return the line of `PROGRAM --version` that names it, else the first; empty when none came in time.

    An answer is kept until the file of the program changes, in `memory` also for the next prx; what a program said that failed,
    or did not end in time, is not. Each start of a client asks here first, so it is here that a program is refused which others
    could have put there: raises FileRefusedError for it, SpawnError for what cannot be run, be it for now: a program that got
    no memory has not said what it is.
    """
    file, key, state, said = _look_up(program, memory)
    if said is None:
        question = _ahead.pop(key, None) or await _Question.put(program)
        said, clean = await question.answer()
        if not clean:
            return said
        if memory is not None and state and said and state == _native_state(file):
            memory.keep_version(file, state, said)
    _known[key] = said
    return said


async def ask_ahead(program: Sequence[str], memory: VersionMemory) -> None:
    """Put the question that `ask_version` will ask, so that the answer comes meanwhile; `forget_ahead` ends what is left.

    What is wrong with a program is reported by `ask_version`.
    """
    with suppress(PrxError, OSError, RuntimeError, MemoryError):
        _, key, _, said = _look_up(program, memory)
        if said is None and key not in _ahead:
            _ahead[key] = await _Question.put(program)


async def forget_ahead() -> None:
    """End the questions that were put ahead and that no caller has taken the answer of."""
    while _ahead:
        _, question = _ahead.popitem()
        await question.close()


def _look_up(program: Sequence[str], memory: VersionMemory | None) -> tuple[str, _Key, tuple[int, ...], str | None]:
    """Return the file of a program, the key of its answer, the state of a native one, and the answer; None if not known."""
    _require_trusted(program[0])
    file = which(program[0]) or program[0]
    key = (*program, file_fingerprint(file))
    if key in _known:
        return file, key, (), _known[key]
    state = _native_state(file) if len(program) == 1 and memory is not None else ()
    said = memory.version(file, state) if memory is not None and state else ""
    return file, key, state, said if said and lack_in(said) is None else None  # an earlier prx kept that, too


def _native_state(file: str) -> tuple[int, ...]:
    """Return what no other content of a native program has in common with this one; empty for a script."""
    try:
        with Path(file).open("rb") as opened:
            facts = os.fstat(opened.fileno())
            native = opened.read(len(_NATIVE)) == _NATIVE
    except OSError:
        return ()
    return content_fingerprint(facts) if native else ()


def _require_trusted(program: str) -> None:
    """Judge the file of a program.

    What is missing, or a folder, is left for the start to say; prx's own interpreter needs no judgement.
    """
    found = program if os.sep in program else which(program)
    if found is None or found == sys.executable or os.path.isdir(found):  # noqa: PTH112 - for each start
        return
    try:
        _require_program(found)
    except OSError as error:
        if lack_of(error):  # it was not judged: then it is not run
            raise SpawnError.of(error, f"'{program}' cannot be examined") from error


def short_version(said: str) -> str:
    """Return the version alone, such as 2026.8.2 or DEV, from what a program says of itself; never a whole sentence."""
    named = re.search(r"\bversion:? v?(\S+)", said, re.IGNORECASE)
    found = named or re.search(r"(\d+(?:\.\d+)+)", said) or re.search(r"(\S+)", said)
    return found[1].strip("(),;\"'")[:_LONGEST_VERSION] if found else ""


class _Question:
    """`PROGRAM --version`, under way; made by `put`."""

    def __init__(self, program: str, process: ChildProcess, lines: list[bytes]) -> None:
        self._program = program
        self._process = process
        self._lines = lines

    @classmethod
    async def put(cls, program: Sequence[str]) -> _Question:
        """Start the program. Raises SpawnError."""
        lines: list[bytes] = []
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment |= needed_environment(program, os.environ)
        launch = Launch((*program, "--version"), environment)

        def keep(_stream: str, line: bytes) -> None:
            if len(lines) < _MOST_LINES:
                lines.append(line)

        return cls(program[0], await ChildProcess.spawn(launch, on_line=keep), lines)

    async def answer(self) -> tuple[str, bool]:
        """Return the line that names the program, else the first, and whether the program ended well.

        Empty if it did not end in time. Raises SpawnError if the machine refused it something for now.
        """
        async with self._process as process:
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    status = await process.wait()
            except TimeoutError:
                return "", False
        said = [line.decode(errors="replace").strip() for line in self._lines]
        # a wrapper may have something to say before the program itself does
        named = next((line for line in said if " version " in line), "")
        if not named and not status.clean:
            self._require_not_short(said)
        return named or (said[0] if said else ""), status.clean

    def _require_not_short(self, said: Sequence[str]) -> None:
        for line in said:
            if lack := lack_in(line):
                words = f"{self._program!r} cannot say its version: {printable(line)[:_LONGEST_WORDS]}"
                raise SpawnError(words, hint=lack.hint, for_now=True)

    async def close(self) -> None:
        """End the program, whatever it says."""
        await self._process.aclose()
