"""Which connector the scenes run with."""

from __future__ import annotations

import os
import subprocess
from typing import Final

VARIABLE: Final = "PRX_TEST_CLOUDFLARED"
BUILTIN: Final = "builtin"


def chosen() -> tuple[str, str]:
    """Return the program (`builtin` or a path) and what it is, and print that; SystemExit if the named one cannot be run."""
    program = os.environ.get(VARIABLE, "") or BUILTIN
    name = version_of(program)
    missing = f"; set {VARIABLE} for the real cloudflared" if program == BUILTIN else ""
    print(f"connector: {name}{missing}", flush=True)
    return program, name


def version_of(program: str) -> str:
    """Return what the connector is; SystemExit if it cannot be run."""
    if program == BUILTIN:
        return "the connector that comes with prx"
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise SystemExit(f"{VARIABLE}: cannot run {program!r}: {error.strerror}; expected a cloudflared") from None
    return said.partition(" (")[0].strip() or program
