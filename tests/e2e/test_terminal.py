"""What `make start` does on a terminal."""

import os
import pty
import sys
from pathlib import Path

from tests.e2e.prx_process import PRX, clean_environment, live_pids

SCRIPT = Path(__file__).parents[2] / "scripts" / "in-foreground"


def read_until(terminal: int, words: str) -> str:
    """Read the screen until these words have come, or until it is closed."""
    seen = ""
    while words not in seen:
        try:
            seen += os.read(terminal, 65536).decode(errors="replace")
        except OSError:
            break
    return seen


def test_ctrl_c_on_a_terminal_is_a_stop_as_asked(tmp_path: Path) -> None:
    """Ctrl-C reaches prx alone: it stops gracefully, the script ends with its code 0, and nothing is left behind."""
    pid, terminal = pty.fork()
    if pid == 0:
        environ = {**clean_environment(tmp_path), "TERM": "xterm"}
        os.execve(sys.executable, [sys.executable, str(SCRIPT), PRX, "start", "--hello", "--lab"], environ)
    assert ".localhost" in read_until(terminal, "healthy")
    os.write(terminal, b"\x03")
    read_until(terminal, "never said: the terminal is closed first")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert live_pids(str(tmp_path)) == []
