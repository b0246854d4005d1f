"""`prx secret`: values go in by prompt, stdin or file, never by argument, and come out only on stdout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.terminal import on_terminal

from prx.cli import secret as cli
from prx.core.errors import PrxError
from prx.ui.prompt import ask_password

VALUE = "val-canary"
PASSWORD = "pass-canary"
RUN = "import sys; from prx.cli.secret import secret; secret(sys.argv[1:], standalone_mode=False)"


class Cli:
    """Runs `prx secret …` in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.master_key = "master password"

    def environment(self) -> dict[str, str]:
        return {"PRX_DATA_DIR": str(self.folder), "PRX_MASTER_KEY": self.master_key}

    def run(self, *arguments: str, value: str = "") -> Result:
        return CliRunner().invoke(cli.secret, arguments, input=value, env=self.environment())

    def ok(self, *arguments: str, value: str = "") -> str:
        result = self.run(*arguments, value=value)
        assert result.exit_code == 0, (result.stderr, result.exception)
        assert VALUE not in result.stderr
        return result.stdout

    def fails(self, *arguments: str, value: str = "") -> PrxError:
        result = self.run(*arguments, value=value)
        assert isinstance(result.exception, PrxError), result
        assert result.stdout == ""
        assert VALUE not in f"{result.exception.message} {result.exception.hint} {result.stderr}"
        return result.exception


@pytest.fixture
def prx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return the command on a data directory of its own, on a machine without keyring and terminal."""
    monkeypatch.setattr(cli, "has_terminal", lambda: False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    return Cli(tmp_path / "data")


def test_set_and_get(prx: Cli) -> None:
    """What stdin gave comes out on stdout, alone on its line; talk goes to stderr."""
    assert prx.ok("set", "tok", value=f"{VALUE}\n") == ""
    assert prx.ok("get", "tok") == f"{VALUE}\n"


def test_a_value_as_argument_is_a_usage_error(prx: Cli) -> None:
    """There is no way to put a value on the command line."""
    result = prx.run("set", "tok", VALUE)
    assert result.exit_code == 2
    assert not prx.folder.exists()


def test_set_from_a_file(prx: Cli, tmp_path: Path) -> None:
    """--file reads a file or stdin, and warns of a file that others can read."""
    source = tmp_path / "source"
    source.write_text(f"{VALUE}\r\n")
    source.chmod(0o644)
    assert "others can read" in prx.run("set", "tok", "--file", str(source)).stderr
    assert prx.ok("get", "tok") == f"{VALUE}\n"
    source.chmod(0o600)
    assert "others can read" not in prx.run("set", "tok", "--file", str(source)).stderr
    prx.ok("set", "tok", "--file", "-", value="from stdin")
    assert prx.ok("get", "tok") == "from stdin\n"
    assert "no such file" in prx.fails("set", "tok", "--file", str(tmp_path / "missing")).message


def test_a_pasted_command_is_understood(prx: Cli) -> None:
    """The dashboard's line stores its token, and says so."""
    result = prx.run("set", "tok", value="sudo cloudflared service install eyJhIjoiYiJ9\n")
    assert "took the token" in result.stderr
    assert "eyJ" not in result.stderr
    assert prx.ok("get", "tok") == "eyJhIjoiYiJ9\n"


@pytest.mark.parametrize("value", ["", "\n", "x" * 70_000])
def test_bad_values_are_refused(prx: Cli, value: str) -> None:
    """Nothing and far too much are refused with words, and no file appears."""
    assert prx.fails("set", "tok", value=value).exit_code == 1
    assert not (prx.folder / "secrets.enc").exists()


def test_list_shows_names_ages_and_expiries(prx: Cli) -> None:
    """Never a value, neither as a table nor as JSON."""
    assert prx.ok("list") == ""
    prx.ok("set", "tok", "--expires", "90d", value=VALUE)
    prx.ok("set", "longer-name", value=VALUE)
    table = prx.ok("list")
    assert VALUE not in table
    assert re.search(r"^NAME +AGE +EXPIRY\nlonger-name +\d+ s +never\ntok +\d+ s +in 90 d$", table.strip(), re.MULTILINE)
    text = prx.ok("list", "--json")
    assert VALUE not in text
    rows = json.loads(text)["secrets"]
    assert [row["name"] for row in rows] == ["longer-name", "tok"]
    assert rows[0]["expires"] is None
    assert rows[1]["expired"] is False
    assert set(rows[0]) == {"name", "created", "updated", "age_secs", "expires", "expired"}


def test_get_as_json(prx: Cli) -> None:
    """The value comes with its dates."""
    prx.ok("set", "tok", value=VALUE)
    assert json.loads(prx.ok("get", "tok", "--json"))["value"] == VALUE


def test_changes_as_json(prx: Cli) -> None:
    """What changes something says with --json what it did: name and dates, the kind of key; never the value."""
    stored = json.loads(prx.ok("set", "tok", "--expires", "90d", "--json", value=VALUE))
    assert set(stored) == {"name", "created", "updated", "age_secs", "expires", "expired"}
    assert (stored["name"], stored["expired"]) == ("tok", False)
    again = prx.ok("set", "tok", "--json", value=VALUE)
    assert VALUE not in again
    assert json.loads(again)["created"] == stored["created"]
    assert json.loads(again)["expires"] is None
    assert json.loads(prx.ok("rotate", "--json")) == {"path": str(prx.folder / "secrets.enc"), "key": "password"}
    assert json.loads(prx.ok("delete", "tok", "--json")) == {"name": "tok", "deleted": True}


def test_set_says_what_it_made(prx: Cli) -> None:
    """The first secret makes the file, which is reported with what opens it; a known name is replaced, and that is said too."""
    first = prx.run("set", "tok", value=VALUE).stderr
    assert first.splitlines()[0] == f"made {prx.folder / 'secrets.enc'}, which a master password opens"
    assert "stored 'tok': use it as secret:tok" in first
    assert prx.run("set", "tok", value=VALUE).stderr == "replaced 'tok': use it as secret:tok\n"


@pytest.mark.parametrize("name", ["-x", "a b", ".hidden", "../up", "ü", "x" * 65, ""])
def test_an_impossible_name_is_refused_before_the_value_is_asked_for(
    prx: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """No secret is asked for in vain."""
    monkeypatch.setattr(cli, "_read_value", lambda *_: pytest.fail("the value was asked for"))
    assert "cannot name a secret" in prx.fails("set", "--", name).message


@pytest.mark.parametrize("span", ["90", "d", "0d", "-1d", "1y", "1.5d", "9999999d"])
def test_odd_spans_are_usage_errors(prx: Cli, span: str) -> None:
    """What is expected is said with an example."""
    result = prx.run("set", "tok", f"--expires={span}", value=VALUE)
    assert result.exit_code == 2
    assert "such as 90d" in result.stderr


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.4, "59 s"), (60, "1 m"), (3600, "1 h"), (86_400 * 2.4, "2 d"), (-5, "0 s")]
)
def test_spans_are_shown_by_their_largest_unit(seconds: float, words: str) -> None:
    """Ages are read at a glance."""
    assert cli._span(timedelta(seconds=seconds)) == words


def test_an_expired_secret_is_given_with_a_warning(prx: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expiry is a reminder: the value still comes, stderr says that it is due."""
    monkeypatch.setattr(cli, "_expired", lambda entry, now: True)
    prx.ok("set", "tok", "--expires", "1s", value=VALUE)
    result = prx.run("get", "tok")
    assert result.stdout == f"{VALUE}\n"
    assert "warning: 'tok' expired" in result.stderr
    assert "expired" in prx.ok("list")


def test_delete(prx: Cli) -> None:
    """A deleted name is gone; deleting it again fails with 1."""
    prx.ok("set", "tok", value=VALUE)
    prx.ok("delete", "tok")
    assert prx.fails("delete", "tok").exit_code == 1
    assert "no secret 'tok'" in prx.fails("get", "tok").message


def test_a_wrong_master_key_fails_in_words(prx: Cli) -> None:
    """Exit code 1, the file named, nothing changed."""
    prx.ok("set", "tok", value=VALUE)
    prx.master_key = "another"
    error = prx.fails("set", "tok", value="x")
    assert error.exit_code == 1
    assert "wrong master password" in error.hint
    prx.master_key = ""
    assert "PRX_MASTER_KEY" in prx.fails("get", "tok").hint


def test_rotate_without_a_new_password_renews_the_derived_key(prx: Cli) -> None:
    """Automation can rotate: the same PRX_MASTER_KEY opens the file, whose bytes and salt are new."""
    prx.ok("set", "tok", value=VALUE)
    before = (prx.folder / "secrets.enc").read_bytes()
    prx.ok("rotate")
    after = (prx.folder / "secrets.enc").read_bytes()
    assert before[:100] != after[:100]
    assert prx.ok("get", "tok") == f"{VALUE}\n"


def test_rotate_to_a_new_password_from_a_file(prx: Cli, tmp_path: Path) -> None:
    """--new-key-file gives the new password; the old one stops working at once."""
    prx.ok("set", "tok", value=VALUE)
    result = prx.run("rotate", "--new-key-file", "-", value="brand new password\n")
    assert "PRX_MASTER_KEY holds the old password" in result.stderr
    prx.fails("get", "tok")
    prx.master_key = "brand new password"
    assert prx.ok("get", "tok") == f"{VALUE}\n"


def test_rotate_says_what_cannot_be(prx: Cli) -> None:
    """No file yet, no keyring here, and contradicting options each have their words."""
    assert "no secrets file yet" in prx.fails("rotate").message
    prx.ok("set", "tok", value=VALUE)
    assert "no keyring" in prx.fails("rotate", "--to", "keyring").message
    assert prx.fails("rotate", "--to", "keyring", "--new-key-file", "x").exit_code == 2


def test_a_new_master_password_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both the same is taken; too short or mistyped is asked for again, then refused: the value is not lost at once."""
    answers: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda words: answers.pop(0))
    answers[:] = ["long enough", "long enough"]
    assert ask_password(new=True).reveal() == "long enough"
    answers[:] = ["once"]
    assert ask_password(new=False).reveal() == "once"
    answers[:] = ["short", "long enough", "long enouhg", "long enough", "long enough"]
    assert ask_password(new=True).reveal() == "long enough"
    for answers[:], words in ((["short"] * 3, "too short"), (["long enough", "long enouhg"] * 3, "differ")):
        with pytest.raises(PrxError, match=words):
            ask_password(new=True)


def answer(prx: Cli, arguments: list[str], answers: list[str]) -> tuple[int, str]:
    """Run the real command on a terminal of its own, answer its prompts, give exit code and all that the terminal showed."""
    environment = {"PRX_DATA_DIR": str(prx.folder), "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    with on_terminal([sys.executable, "-c", RUN, *arguments], environment) as terminal:
        for number, text in enumerate(answers, 1):
            terminal.wait_for(": ", times=number)
            terminal.type(f"{text}\n")
        return terminal.end(), terminal.screen


def test_on_a_terminal_everything_is_asked_for_and_nothing_shown(prx: Cli) -> None:
    """Value and master password are asked for with hidden prompts, and get wants --show."""
    code, shown = answer(prx, ["set", "tok"], [VALUE, PASSWORD, PASSWORD])
    assert (code, VALUE in shown, PASSWORD in shown) == (0, False, False)
    code, shown = answer(prx, ["get", "tok"], [])
    assert code == 1
    assert "stdout is a terminal" in shown
    assert VALUE not in shown
    code, shown = answer(prx, ["get", "--show", "tok"], [PASSWORD])
    assert (code, VALUE in shown) == (0, True)
    assert answer(prx, ["rotate"], [PASSWORD, "new password", "new password"])[0] == 0
    assert VALUE in answer(prx, ["get", "--show", "tok"], ["new password"])[1]


def test_the_value_is_in_no_command_line_and_no_file(prx: Cli) -> None:
    """Set and get in processes of their own: afterwards no file of the data directory holds the value or the password."""
    environment = {**os.environ, **prx.environment()}
    subprocess.run([sys.executable, "-c", RUN, "set", "tok"], input=VALUE.encode(), env=environment, check=True, timeout=60)
    for path in prx.folder.iterdir():
        assert VALUE.encode() not in path.read_bytes()
        assert prx.master_key.encode() not in path.read_bytes()


def test_help_loads_no_cryptography() -> None:
    """`prx secret --help` stays fast."""
    code = "import sys, prx.cli.secret as m; m.secret(['--help'], standalone_mode=False); print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().endswith("False")
