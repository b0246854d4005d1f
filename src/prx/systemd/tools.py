"""Ask systemd's own programs, if they are there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from prx.secrets.sources import OWN_VARIABLES
from prx.systemd.unit import Scope

_PATIENCE: Final = 20.0  # seconds


def complaints(unit_file: Path) -> list[str]:
    """Return what `systemd-analyze verify` says against a unit file; nothing if that program is missing."""
    said = _run(["systemd-analyze", "verify", str(unit_file)])
    return [] if said is None else said.stderr.splitlines()


def exposure(unit_file: Path) -> str:
    """Return the sentence of `systemd-analyze security` about a unit file, such as "1.4 OK"; empty if it gives none."""
    said = _run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit_file)])
    last = said.stdout.splitlines()[-1:] if said is not None else []
    _, _, words = "".join(last).partition(".service: ")
    return " ".join(word for word in words.split() if word.isascii())


def systemd_version() -> int:
    """Return the version of systemd on this machine, such as 252; 0 if that is unknown."""
    said = _run(["systemctl", "--version"])
    found = re.match(r"systemd (\d+)", said.stdout) if said is not None else None
    return int(found[1]) if found else 0


def ask_systemctl(scope: Scope, *arguments: str) -> str:
    """Return the first line that `systemctl` prints, empty if it gives no answer."""
    said = _run(["systemctl", f"--{scope}", *arguments])
    return said.stdout.strip().partition("\n")[0] if said is not None else ""


def _run(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    environment = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
