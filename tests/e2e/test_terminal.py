"""What `make start` does on a terminal."""

import sys
from pathlib import Path

from tests.e2e.prx_process import PRX, clean_environment, live_pids
from tests.terminal import on_terminal

SCRIPT = Path(__file__).parents[2] / "scripts" / "in-foreground"


def test_ctrl_c_on_a_terminal_is_a_stop_as_asked(tmp_path: Path) -> None:
    """Ctrl-C reaches prx alone: it stops gracefully, the script ends with its code 0, and nothing is left behind."""
    command = [sys.executable, str(SCRIPT), PRX, "start", "--hello", "--lab"]
    with on_terminal(command, clean_environment(tmp_path)) as terminal:
        assert ".localhost" in terminal.wait_for("healthy")
        terminal.type("\x03")
        assert terminal.end() == 0
    assert live_pids(str(tmp_path)) == []
