"""What `make start` and `prx start` do on a terminal."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.prx_process import PRX, clean_environment, live_pids
from tests.support.terminal import on_terminal

SCRIPT = Path(__file__).parents[2] / "scripts" / "in-foreground"


def test_ctrl_c_on_a_terminal_is_a_stop_as_asked(tmp_path: Path) -> None:
    """Ctrl-C reaches prx alone: it stops gracefully, the script ends with its code 0, and nothing is left behind."""
    command = [sys.executable, str(SCRIPT), PRX, "start", "--hello", "--lab"]
    with on_terminal(command, clean_environment(tmp_path)) as terminal:
        assert ".localhost" in terminal.wait_for("healthy")
        terminal.type("\x03")
        assert terminal.end() == 0
    assert live_pids(str(tmp_path)) == []


def with_a_password(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of a tunnel whose token only a master password opens."""
    environ = clean_environment(folder)
    subprocess.run(
        [PRX, "secret", "set", "tok"],
        input=b"not used in the lab",
        env={**environ, "PRX_MASTER_KEY": "correct horse"},
        check=True,
    )
    config = folder / "prx.toml"
    config.write_text('[tunnel.cloudflare]\nmode = "named"\nhostname = "web.localhost"\ntoken = "secret:tok"\n')
    return [PRX, "start", "--hello", "--lab", "-c", str(config)], environ


def test_ctrl_c_at_the_master_password_is_a_stop_as_asked(tmp_path: Path) -> None:
    """A user who does not know the password can leave with Ctrl-C, and the terminal shows what is typed again."""
    command, environ = with_a_password(tmp_path)
    with on_terminal(["sh", "-c", 'trap : INT; "$@"; echo ended with $?; stty -a', "sh", *command], environ) as terminal:
        terminal.wait_for("Master password: ")
        terminal.type("\x03")
        terminal.end()
    assert "ended with 0" in terminal.screen
    assert " echo " in terminal.screen


def test_the_master_password_is_asked_for_once(tmp_path: Path) -> None:
    """What the password opened stays open: a reload asks for nothing, and finds a secret that was changed meanwhile."""
    command, environ = with_a_password(tmp_path)
    with on_terminal(command, environ) as terminal:
        terminal.wait_for("Master password: ")
        terminal.type("correct horse\n")
        terminal.wait_for("healthy")
        subprocess.run([PRX, "reload"], env=environ, check=True, timeout=20)
        terminal.wait_for("configuration read again")
        terminal.type("\x03")
        assert terminal.end() == 0
    assert terminal.screen.count("Master password") == 1
