"""Which programs are asked for their version again, and which are not."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from prx.core.errors import PrxError
from prx.runtime.process import version
from prx.runtime.process.child import our_children
from prx.runtime.process.spawn import SpawnError
from prx.runtime.process.version import ask_ahead, ask_version, forget_ahead


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


REFUSED = [  # what cloudflared, a shell and the dynamic loader say if the machine gives them too little, and their codes
    ("runtime: epollcreate failed with 24", 2, "ulimit -n"),
    ("fatal error: failed to reserve page summary memory", 2, "ulimit -v"),
    ("runtime: failed to create new OS thread (have 2 already; errno=11)", 2, "ulimit -u"),
    (
        "client: error while loading shared libraries: libc.so.6: cannot open shared object file: Too many open files",
        127,
        "ulimit -n",
    ),
    ("./client: line 2: /opt/cloudflared: Text file busy", 126, ""),
]


@pytest.mark.parametrize(("words", "code", "helps"), REFUSED)
async def test_a_program_that_got_too_little_has_not_said_what_it_is(tmp_path: Path, words: str, code: int, helps: str) -> None:
    """It is neither another program nor one of unknown version: another try can help, and asks again."""
    short, script = tmp_path / "short", tmp_path / "client"
    short.touch()
    script.write_text(f"#!/bin/sh\n[ -e {short} ] && echo '{words}' >&2 && exit {code}\necho client version 1\n")
    script.chmod(0o755)
    memory = Memory()
    with pytest.raises(SpawnError, match="cannot say its version") as caught:
        await ask(script, memory)
    assert (caught.value.permanent, helps in caught.value.hint) == (False, True)
    short.unlink()
    assert await ask_version((str(script),), memory) == "client version 1"


async def test_what_a_native_program_says_that_failed_is_not_kept(tmp_path: Path) -> None:
    """Nor is it believed if an earlier prx has kept it: the program would be refused as long as its file stays."""
    file = tmp_path / "client"
    shutil.copy("/bin/false", file)
    memory = Memory()
    said = await ask(file, memory)
    assert (said != "", memory.kept) == (True, {})
    shutil.copy("/bin/true", file)
    said = await ask(file, memory)
    assert len(memory.kept) == 1
    memory.kept = dict.fromkeys(memory.kept, "fatal error: failed to reserve page summary memory")
    assert await ask(file, memory) == said


@pytest.mark.parametrize(
    ("flood", "said"),
    [
        ("while :; do echo y; done", "y"),
        ("while :; do echo; done", ""),
        ("while :; do echo noise >&2; done", "noise"),
        ("echo client version 1; while :; do echo y; done", "client version 1"),
    ],
    ids=["words", "empty lines", "stderr", "behind the version"],
)
async def test_a_program_that_writes_without_end_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flood: str, said: str
) -> None:
    """A program that does not know --version and goes on writing costs prx a few lines, and its answer is none."""
    script = tmp_path / "client"
    script.write_text(f"#!/bin/sh\n{flood}\n")
    script.chmod(0o755)
    monkeypatch.setattr(version, "ANSWER_WITHIN", 0.3)
    version._known.clear()
    question = await version._Question.put((str(script),))
    assert await question.answer() == ("", False)
    assert len(question._lines) <= version._MOST_LINES
    assert question._lines[0].decode() == said


async def test_no_answer_in_time_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy once leaves no program without a version as long as prx runs."""
    slow = tmp_path / "slow"
    slow.touch()
    script = client(tmp_path, "1", first=f"[ -e {slow} ] && sleep 60")
    version._known.clear()
    with monkeypatch.context() as patched:
        patched.setattr(version, "ANSWER_WITHIN", 0.1)
        assert await ask_version((str(script),)) == ""
    slow.unlink()
    assert await ask_version((str(script),)) == "client version 1"


def client(folder: Path, says: str, *, first: str = "") -> Path:
    """Return a program that counts how often it was asked, in `asked` beside it."""
    script = folder / "client"
    script.write_text(f"#!/bin/sh\n{first}\necho >>{folder}/asked\necho client version {says}\n")
    script.chmod(0o755)
    return script


def asked(folder: Path) -> int:
    """Return how often the program was asked."""
    return len((folder / "asked").read_text().splitlines()) if (folder / "asked").exists() else 0


async def test_what_was_asked_ahead_is_not_asked_again(tmp_path: Path) -> None:
    """The program runs once, while something else is loaded, and its answer is taken; once it is known, it does not run."""
    program = (str(client(tmp_path, "1")),)
    await ask_ahead(program, Memory())
    await ask_ahead(program, Memory())
    assert await ask_version(program, Memory()) == "client version 1"
    await ask_ahead(program, Memory())
    assert (asked(tmp_path), our_children) == (1, set())


async def test_a_program_that_was_replaced_meanwhile_is_asked_itself(tmp_path: Path) -> None:
    """An answer that the file of before has given says nothing of the one that is there now."""
    program = (str(client(tmp_path, "1")),)
    await ask_ahead(program, Memory())
    client(tmp_path, "2.0")
    assert await ask_version(program, Memory()) == "client version 2.0"
    await forget_ahead()
    assert our_children == set()


async def test_a_question_that_is_not_needed_any_more_ends(tmp_path: Path) -> None:
    """A program that hangs, asked ahead by a prx that is stopped then, is left nowhere."""
    await ask_ahead((str(client(tmp_path, "1", first="exec sleep 1000")),), Memory())
    assert len(our_children) == 1
    await forget_ahead()
    assert our_children == set()


@pytest.mark.parametrize("mode", [0o644, 0o777, None])
async def test_what_is_wrong_is_said_by_the_question_in_earnest(tmp_path: Path, mode: int | None) -> None:
    """A program that is missing, cannot be run or could be another user's is no error before it is needed."""
    script = client(tmp_path, "1")
    if mode is None:
        script.unlink()
    else:
        script.chmod(mode)
    await ask_ahead((str(script),), Memory())
    assert our_children == set()
    with pytest.raises(PrxError):
        await ask_version((str(script),), Memory())
    assert asked(tmp_path) == 0
