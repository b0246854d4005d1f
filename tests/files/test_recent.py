"""What was found out about a file holds for a moment, as long as nothing about it has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from prx.core.errors import PrxError
from prx.files.recent import MOMENT, Recent


class Asked:
    """A question about files that counts how often it was put."""

    def __init__(self) -> None:
        self.times = 0
        self.now = 100.0
        self.recent = Recent(self._find, now=lambda: self.now)

    def _find(self, path: str) -> int:
        self.times += 1
        if path.endswith("refused"):
            raise PrxError("refused")
        return self.times


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a file in a folder of its own."""
    (tmp_path / "bin").mkdir()
    file = tmp_path / "bin" / "program"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def test_hundreds_of_questions_in_a_moment_are_one(program: Path) -> None:
    """What is the same for all starts of a moment is found out once; a moment later it is found out again."""
    asked = Asked()
    assert {asked.recent(str(program)) for _ in range(300)} == {1}
    asked.now += MOMENT
    assert (asked.recent(str(program)), asked.times) == (2, 2)


def _write(file: Path) -> None:
    file.write_text("#!/bin/dash\n")


def _exchange(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    other.chmod(0o755)
    other.replace(file)


def _open_to_others(file: Path) -> None:
    file.chmod(0o757)


def _open_folder(file: Path) -> None:
    file.parent.chmod(0o777)


def _turn_link(file: Path) -> None:
    other = file.with_name("other")
    other.write_text("#!/bin/sh\n")
    file.unlink()
    file.symlink_to(other)


@pytest.mark.parametrize("change", [_write, _exchange, _open_to_others, _open_folder, _turn_link])
def test_a_changed_program_is_judged_at_once(program: Path, change: Callable[[Path], None]) -> None:
    """Nothing that was found of another file, or under other rights, is taken for true, however short the time between."""
    asked = Asked()
    asked.recent(str(program))
    change(program)
    asked.recent(str(program))
    assert asked.times == 2


def test_errors_and_what_is_not_there_are_not_kept(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal, a file that cannot be seen and a relative path are found out each time: nothing of them is known to last."""
    asked = Asked()
    refused = program.with_name("refused")
    refused.touch()
    monkeypatch.chdir(program.parent)
    for _ in range(2):
        with pytest.raises(PrxError):
            asked.recent(str(refused))
        asked.recent(str(program) + ".missing")
        asked.recent(os.path.relpath(program))
    assert asked.times == 6
