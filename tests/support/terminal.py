"""A command on a terminal of its own, as a person sees it: a pseudo-terminal that is its controlling one."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# The first terminal that the leader of a session opens becomes its controlling one (tty_ioctl(4)). `pty.fork` would do the same
# in a copy of this process, which has threads.
_LEAD = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execvp(sys.argv[1], sys.argv[1:])"


class Terminal:
    """The person's side: `screen` is everything that was shown so far."""

    def __init__(self, process: subprocess.Popen[bytes], side: int) -> None:
        self.process = process
        self.screen = ""
        self._side = side

    def wait_for(self, words: str, *, times: int = 1, within: float = 40) -> str:
        """Read until these words are on the screen so many times, and return it; fail where they do not come."""
        deadline = time.monotonic() + within
        while self.screen.count(words) < times:
            assert self._read(deadline), f"no {words!r} on the screen:\n{self.screen}"
        return self.screen

    def type(self, text: str) -> None:
        """Type this, control characters too: Ctrl-C, Ctrl-D."""
        os.write(self._side, text.encode())

    def end(self, within: float = 40) -> int:
        """Read until the command has ended, and return its exit code (negative: killed by a signal)."""
        deadline = time.monotonic() + within
        while self._read(deadline):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        """Read once; False if the terminal was closed by the other side, or time is over."""
        if not select.select([self._side], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            chunk = os.read(self._side, 65536)
        except OSError:  # Linux says so when the last process has closed its side
            return False
        self.screen += chunk.decode(errors="replace")
        return bool(chunk)


@contextmanager
def on_terminal(command: Sequence[str], environ: Mapping[str, str], cwd: Path | None = None) -> Iterator[Terminal]:
    """Run `command` on a terminal inside the block; at its end it is killed, if it still runs."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _LEAD, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"TERM": "xterm", **environ},
        cwd=cwd,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)
