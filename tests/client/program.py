"""A user's program in a process of its own: its lines as they come, and what is left when it has ended."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.waits import PATIENCE

BOUND = 2 * PATIENCE  # a program starts prx, which starts a connector


class Program:
    """A running Python program; its stdout and stderr are one."""

    def __init__(self, argv: list[str], *, env: Mapping[str, str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            argv, env=dict(env), cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def line(self, beginning: str = "") -> str:
        """Return the next line that begins like this, without the beginning."""
        while (found := self._next()) is not None:
            if found.startswith(beginning):
                return found.removeprefix(beginning)
        raise AssertionError(f"the program ended without {beginning!r}:\n{self.story()}")

    def _next(self) -> str | None:
        try:
            found = self._new.get(timeout=BOUND)
        except queue.Empty:
            raise AssertionError(f"nothing more came:\n{self.story()}") from None
        if found is not None:
            self.lines.append(found)
        return found

    def story(self) -> str:
        """Return what it said so far."""
        return "\n".join(self.lines[-60:])

    def go_on(self) -> None:
        """Have the program's next `input()` return."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        while self._next() is not None:
            pass
        return self.process.wait(BOUND)

    def succeed(self) -> None:
        """Wait for the end, which is to be a good one."""
        assert self.end() == 0, self.story()

    def close(self) -> None:
        """Kill it with what it has started in its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # children of it that live on are in it as well
        self.process.wait()
        self._reader.join(BOUND)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def running(argv: list[str], *, env: Mapping[str, str], cwd: Path) -> Iterator[Program]:
    """Run a command line until the block ends."""
    program = Program(argv, env=env, cwd=cwd)
    try:
        yield program
    finally:
        program.close()


class Home:
    """A folder with nothing of this machine's user in it, and the lab that its programs use."""

    def __init__(self, path: Path, lab: str) -> None:
        self.path = path
        self.lab = lab
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(path), "PRX_DATA_DIR": str(path / "data"), "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1", "LAB": lab, "PYTHONPATH": str(path), "PYTHONWARNINGS": "error::ResourceWarning",
        }  # fmt: skip

    @contextmanager
    def python(self, source: str, *arguments: str, name: str = "program.py") -> Iterator[Program]:
        """Run a program, written to a file."""
        file = self.path / name
        file.write_text(textwrap.dedent(source))
        with running([sys.executable, str(file), *arguments], env=self.env, cwd=self.path) as program:
            yield program

    @contextmanager
    def command(self, *argv: str) -> Iterator[Program]:
        """Run a program of this environment, such as uvicorn."""
        with running([sys.executable, "-m", *argv], env=self.env, cwd=self.path) as program:
            yield program


def wait_for_end_of(pid: int) -> None:
    """Wait until a process that is no child of ours has ended."""
    import select

    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([watch], [], [], BOUND)[0], f"process {pid} lives on"
    finally:
        os.close(watch)


def lives(pid: int) -> bool:
    """Return whether a process lives, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
