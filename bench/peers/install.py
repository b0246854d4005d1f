"""Install the peers from the registries, into a folder of the checkout that can be thrown away: .venv/peers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".venv" / "peers"
PYTHON = FOLDER / "python"
ROOT = FOLDER / "root"  # what Debian's packages hold
PIP = ("supervisor", "circus", "honcho", "pycloudflared", "setuptools<81")
DEBIAN = ("runit", "s6", "execline", "libskarnet2.13", "libexecline2.9", "libs6-2.11")


def install() -> list[str]:
    """Install what is missing, and return what could not be installed, each with its reason."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    refused = [] if Path("/usr/bin/s6-supervise").exists() else ["s6: Debian's runs only if it is installed in /usr/bin"]
    return refused + [
        f"{name}: {reason}"
        for name, there, work in (
            ("the Python peers", PYTHON / "bin" / "circusd", _pip),
            ("pm2", FOLDER / "npm" / "node_modules" / ".bin" / "pm2", _npm),
            ("runit and s6", ROOT / "usr" / "bin" / "s6-svscan", _debian),
        )
        if not there.exists() and (reason := _refused(work))
    ]


def _refused(work: object) -> str:
    assert callable(work)
    try:
        work()
    except (OSError, subprocess.CalledProcessError) as error:
        return str(error)
    return ""


def _pip() -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PYTHON))
    _run(uv, "pip", "install", "--quiet", "--python", str(PYTHON / "bin" / "python"), *PIP)


def _npm() -> None:
    _run("npm", "install", "--prefix", str(FOLDER / "npm"), "--no-audit", "--no-fund", "--silent", "pm2")


def _debian() -> None:
    folder = FOLDER / "debian"
    folder.mkdir(exist_ok=True)
    _run("apt-get", "download", "-qq", *DEBIAN, folder=folder)
    for package in folder.glob("*.deb"):
        _run("dpkg", "-x", str(package), str(ROOT))


def _run(*command: str, folder: Path | None = None) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
