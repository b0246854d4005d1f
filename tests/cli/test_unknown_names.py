"""A name that no tunnel has: every command that takes one answers alike."""

from __future__ import annotations

import os
import signal

import pytest
from tests.cli.home import Home

COMMANDS = [
    "status wbe", "status --json wbe", "why wbe", "url wbe", "url --wait 5 wbe", "logs wbe", "report wbe", "report --json wbe",
    "stop wbe", "restart wbe", "reload wbe", "retarget 9 wbe", "requests --tunnel wbe", "requests --tunnel wbe show 1",
    "replay --tunnel wbe 1",
]  # fmt: skip


def test_one_answer_of_all_commands(home: Home) -> None:
    """Exit code 2, nothing on stdout, the same words, and the names that there are, whichever command is asked."""
    home.start("--hello", "--lab").url()
    answers = {}
    for command in COMMANDS:
        done = home.run(*command.split())
        answers[command] = (done.returncode, done.stdout, done.stderr.startswith("error: no tunnel is called 'wbe'; "))
        assert "hello" in done.stderr.partition("; ")[2], command
    assert set(answers.values()) == {(2, "", True)}, answers


def test_the_same_without_a_prx(home: Home) -> None:
    """What has been is asked by name, too: of the log, of the history, and of a file that declares others."""
    prx = home.start("--hello", "--lab")
    prx.url()
    prx.send(signal.SIGTERM)
    assert prx.end() == 0
    for command in ("logs wbe", "report wbe"):
        done = home.run(*command.split())
        assert (done.returncode, done.stderr.startswith("error: no tunnel is called 'wbe'; in the ")) == (2, True)
        assert "hello" in done.stderr
    (home.folder / "prx.toml").write_text('[tunnels.web]\nlocal_addr = "127.0.0.1:9"\n')
    done = home.run("start", "wbe")
    assert (done.returncode, done.stderr) == (2, "error: no tunnel is called 'wbe'; declared in prx.toml: web\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["why", "url", "restart", "logs", "stop"])
def test_a_name_that_a_silent_prx_may_have_is_not_unknown(home: Home, command: str) -> None:
    """While a prx does not answer, which may have that name, nothing is known: 4, and no word that there is none."""
    home.start("--hello", "--lab").url()
    (home.folder / "other.toml").write_text('[tunnel]\nbackend = "none"\npublic_url = "http://127.0.0.1:9"\n')
    other = home.start("-c", "other.toml", "--json")
    other.wait_for("state_changed")
    os.kill(other.process.pid, signal.SIGSTOP)
    try:
        done = home.run(command, "wbe", within=30)
    finally:
        os.kill(other.process.pid, signal.SIGCONT)
    assert done.returncode == 4
    assert "cannot be asked" in done.stderr
