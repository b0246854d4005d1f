"""Run an installed program once, for its version, before it is put into use.

Its digest has been verified by then. What this finds is another fault: a program that this machine cannot run, because the
folder forbids programs (`noexec`), its system is another one, or a policy is against it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from prx.core.errors import PermanentError, PrxError, ShortageError, refused
from prx.core.shortage import lack_in

WITHIN: Final = 10.0  # seconds; it answers in 20 ms, a cold disk may take its time
_SHOWN: Final = 80  # characters of what it says


async def require_version(program: Path, version: str) -> None:
    """Run `PROGRAM --version`; raise PermanentError unless it names `version`.

    PrxError if it does not end in time, ShortageError if it says that this machine refuses it something for now.
    """
    said, complaint = await _ask(program)
    if version not in said.split():
        if lack := lack_in(complaint):
            shown = " ".join(complaint.split())[:_SHOWN]
            raise ShortageError(f"{program} cannot say its version: {shown}; it was not put into use", hint=lack.hint)
        shown = " ".join(said.split())[:_SHOWN]
        raise PermanentError(f"{program} --version says {shown!r}, expected version {version}; it was not put into use")


async def _ask(program: Path) -> tuple[str, str]:
    """Return what it says on stdout, and on stderr."""
    # no HOME: it says its version alone, and needs no configuration of the user's
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.devnull}
    try:
        process = await asyncio.create_subprocess_exec(
            str(program),
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        hint = (
            f"{program.parent} must allow programs to run: is it mounted noexec?" if isinstance(error, PermissionError) else ""
        )
        raise refused(f"{program} cannot be run here: {words}; it was not put into use", error, hint=hint) from error
    try:
        async with asyncio.timeout(WITHIN):
            out, complaint = await process.communicate()
    except TimeoutError as error:
        raise PrxError(f"{program} --version has not ended within {WITHIN:g} s; it was not put into use") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode(errors="replace"), complaint.decode(errors="replace")
