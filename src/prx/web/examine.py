"""`prx doctor` on demand: as a process of its own, one at a time, bounded in time and output."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from prx.core.errors import PrxError
from prx.core.parsing import parse_json

SECONDS: Final = 60.0
_LIMIT: Final = 1024 * 1024


class Doctor:
    """Examine the machine for one configuration. `command` is the argv of prx."""

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-m", "prx")) -> None:
        self._command = command
        self._busy = asyncio.Lock()

    async def examine(self, config: str, address: str = "", *, lab: bool = False) -> dict[str, Any]:
        """Return what `prx doctor --json` prints; PrxError if it fails.

        config: the configuration file (empty: none); then `address` is that of the service. lab: with the local edge.
        """
        if self._busy.locked():
            raise PrxError("an examination is under way", hint="wait for it: it takes up to 15 seconds")
        async with self._busy:
            what = ("-c", config) if config else (address,) if address else ()
            argv = (*self._command, "doctor", "--json", *what, *(("--lab",) if lab else ()))
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            try:
                async with asyncio.timeout(SECONDS):
                    out, err = await process.communicate()
            except TimeoutError:
                raise PrxError(f"prx doctor did not end within {SECONDS:.0f} s") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        try:
            found = parse_json(out[:_LIMIT])
        except ValueError:
            raise PrxError("prx doctor failed: " + err.decode(errors="replace").strip()[-500:]) from None
        return found if isinstance(found, dict) else {"findings": found}
