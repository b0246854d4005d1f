"""Folders and files of several users, as only root can make them, and prx run in the middle of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PRX = (sys.executable, "-P", "-m", "prx")
STRANGER = 4242
WITHIN = 60  # seconds for one command


class Place:
    """A folder below /tmp, and the programs that were run there by mistake: each leaves a file in `ran`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran = folder / "ran"
        self.ran.mkdir()
        self.home = folder / "home"
        self.home.mkdir()
        self.environ = {
            "HOME": str(self.home),
            "PATH": "/usr/bin:/bin",
            "PRX_DATA_DIR": str(folder / "data"),
            "LANG": "C.UTF-8",
        }

    def make(self, name: str, text: str = "", *, mode: int = 0o644, uid: int = 0) -> Path:
        """Write a file with an owner, in a folder that is made where it is missing."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        os.chown(path, uid, uid)
        return path

    def make_folder(self, name: str, *, mode: int = 0o755, uid: int = 0) -> Path:
        """Make a folder with an owner."""
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, uid, uid)
        path.chmod(mode)
        return path

    def program(self, name: str, *, mode: int = 0o755, uid: int = 0, says: str = "token") -> Path:
        """Write a program that leaves a trace of having been run."""
        return self.make(name, f"#!/bin/sh\ntouch {self.ran}/program\necho {says}\n", mode=mode, uid=uid)

    def run(self, *arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command of prx to its end."""
        return subprocess.run(
            [*PRX, *arguments],
            env=self.environ | environ,
            cwd=cwd or self.folder,
            text=True,
            capture_output=True,
            timeout=WITHIN,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def traces(self) -> list[str]:
        """Return what was run."""
        return [path.name for path in self.ran.iterdir()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Yield a folder that every user can pass through; for root, who alone can give files away."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files of other users")
    yield Place(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)
