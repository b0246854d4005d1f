"""Which programs are asked for their version again, and which are not."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from prx.runtime.process import version
from prx.runtime.process.version import ask_version


class Memory:
    """What an earlier prx has kept; `kept` is what this one adds."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, tuple[int, ...]], str] = {}

    def version(self, file: str, state: Sequence[int]) -> str:
        """Return what is kept."""
        return self.kept.get((file, tuple(state)), "")

    def keep_version(self, file: str, state: Sequence[int], said: str) -> None:
        """Keep it."""
        self.kept[file, tuple(state)] = said


async def ask(file: Path, memory: Memory) -> str:
    """Ask as another prx would, which has asked nothing yet."""
    version._known.clear()
    return await ask_version((str(file),), memory)


async def test_a_program_of_this_machine_is_asked_once(tmp_path: Path) -> None:
    """Another prx does not start a program to get the same version again; one that was replaced is asked."""
    file = tmp_path / "client"
    shutil.copy("/bin/true", file)  # a native program that answers --version
    memory = Memory()
    said = await ask(file, memory)
    assert list(memory.kept.values()) == [said] != [""]
    memory.kept = dict.fromkeys(memory.kept, "as it was kept")
    assert await ask(file, memory) == "as it was kept"
    await asyncio.to_thread(shutil.copy, "/bin/false", file)
    assert await ask(file, memory) not in {"as it was kept", ""}


@pytest.mark.parametrize("words", ["one", "two"])
async def test_a_script_is_asked_by_every_prx(tmp_path: Path, words: str) -> None:
    """A script that stays the same may run another program tomorrow, so what it said is not kept."""
    inner, script = tmp_path / "inner", tmp_path / "client"
    script.write_text(f"#!/bin/sh\ncat {inner}\n")
    script.chmod(0o755)
    memory = Memory()
    for said in (f"{words} version 1", f"{words} version 2"):
        inner.write_text(said)
        assert await ask(script, memory) == said
    assert memory.kept == {}
