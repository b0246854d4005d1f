"""Programs are found in PATH as the standard library finds them, without what its module loads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from prx.files.search import which


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with programs, files that are none, and folders of the same names; it is the current one."""
    for folder, name, mode in (("a", "tool", 0o644), ("b", "tool", 0o755), ("c", "tool", 0o755), ("a", "only", 0o755)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("#!/bin/sh\n")
        (tmp_path / folder / name).chmod(mode)
    (tmp_path / "a" / "folder").mkdir()
    (tmp_path / "here").write_text("#!/bin/sh\n")
    (tmp_path / "here").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["tool", "only", "folder", "here", "absent", "./here", "a/tool", "b/tool", "", "b"])
@pytest.mark.parametrize("path", ["a:b", "b:a", "c:b", ":a", "a:", "", "absent:a::b", None])
@pytest.mark.parametrize("mode", [os.F_OK | os.X_OK, os.F_OK])
def test_as_the_standard_library(
    folders: Path, monkeypatch: pytest.MonkeyPatch, name: str, path: str | None, mode: int
) -> None:
    """Modes, folders, empty and missing parts of PATH, and names with a slash give what `shutil.which` gives."""
    monkeypatch.setenv("PATH", f"{folders}/a:{folders}/b")
    assert which(name, path=path, mode=mode) == shutil.which(name, path=path, mode=mode)


def test_no_path_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PATH the system's usual folders are searched, and a NUL byte names no program."""
    monkeypatch.delenv("PATH")
    assert which("sh") is not None
    assert which("s\0h") is None
