"""Ask a client program for its version, once for each state of its file."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Sequence

from prx.backends.launch import Launch
from prx.runtime.fingerprint import file_fingerprint
from prx.runtime.process import TunnelProcess

ANSWER_WITHIN = 10.0  # seconds; a Go program answers in 20 ms, a cold disk may take its time

_LONGEST_VERSION = 40  # characters

_known: dict[tuple[object, ...], str] = {}


async def ask_version(program: Sequence[str]) -> str:
    """Return the first line of `PROGRAM --version`, empty when it gives none in time. Raises SpawnError.

    An answer is kept until the file of the program changes.
    """
    key = (*program, file_fingerprint(shutil.which(program[0]) or program[0]))
    if key not in _known:
        _known[key] = await _ask(program)
    return _known[key]


def short_version(said: str) -> str:
    """Return the version alone, such as 2026.8.2 or DEV, from what a program says of itself; never a whole sentence."""
    named = re.search(r"\bversion:? v?(\S+)", said, re.IGNORECASE)
    found = named or re.search(r"(\d+(?:\.\d+)+)", said) or re.search(r"(\S+)", said)
    return found[1].strip("(),;\"'")[:_LONGEST_VERSION] if found else ""


async def _ask(program: Sequence[str]) -> str:
    lines: list[bytes] = []
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    async with await TunnelProcess.spawn(
        Launch((*program, "--version"), environment), on_line=lambda _, line: lines.append(line)
    ) as process:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await process.wait()
        except TimeoutError:
            return ""
    return lines[0].decode(errors="replace").strip() if lines else ""
