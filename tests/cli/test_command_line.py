"""The command line around the commands: help, usage, errors, exit codes, and what they cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from prx import __version__
from prx.cli.root import COMMANDS, cli
from prx.cli.start import start
from prx.core.errors import ConfigError, NotReadyError, PermanentError, PrxError, UsageError
from prx.ui.errors import run

HEAVY = {
    "pydantic",
    "httpx2",
    "rich",
    "segno",
    "asyncio",
    "ssl",
    "h2",
    "capnp",
    "cryptography",
    "dns",
    "psutil",
    "tomlkit",
    "logging",
    "email",
    "zipfile",
    "importlib.metadata",
    "http.server",
    "prx.config.schema",
    "prx.config.checker",
    "prx.lab.edge",
    "prx.lab.connector",
    "prx.runtime",
}


def imported_by(*arguments: str, environ: dict[str, str]) -> set[str]:
    """Return the modules that a command has imported when it ends."""
    script = f"import sys, prx.cli; prx.cli.main({list(arguments)!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ, check=False)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["status"], ["status", "--json"], ["url"], ["stop"]])
def test_fast_commands_import_no_server_and_no_screen_library(command: list[str], tmp_path: object) -> None:
    """`prx --help`, `url` and `status` load nothing that they do not need."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PRX_DATA_DIR": str(tmp_path)}
    modules = imported_by(*command, environ=environ)
    assert "prx.cli.root" in modules
    assert not HEAVY & modules


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_says_what_the_table_says(name: str) -> None:
    """Each entry of the table leads to a command, and `prx --help` has the words of the command itself."""
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    assert command.get_short_help_str(200).removeprefix(f"`prx {name}`: ").lower() == COMMANDS[name].help.lower()


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    """`--version` prints name and version."""
    assert run(cli, ["--version"]) == 0
    assert capfd.readouterr().out == f"prx {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sttus"], "did you mean `prx status`?"),
        (["fly"], "commands: start, status"),
        (["status", "--jsn"], "--json"),
        (["logs", "-n", "many"], "hint: prx logs --help"),
        (["start", "8080", "--"], "prx start 8080 -- npm run dev"),
        (["start", "99999"], "a port from 1 to 65535"),
        (["start", "--ttl", "soon"], "expected a time such as 90s"),
        (["start", "--hello", "8080"], "--hello is the local service itself"),
        (["start", "--json", "--detach"], "leave out one of the two"),
        (["completions", "csh"], "hint: prx completions --help"),
        (["completions"], "Choose from: bash, zsh, fish\n"),
        (["url", "--wait", "-1"], "hint: prx url --help"),
    ],
)
def test_a_wrong_command_line_is_told_in_two_lines(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Usage mistakes end with 2, an `error:` and a `hint:` on stderr, and nothing on stdout."""
    assert run(cli, words) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert "\nhint: " in shown.err
    assert said in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PrxError("failed", hint="help"), 1),
        (UsageError("wrong", hint="help"), 2),
        (ConfigError(["a:1: x", "a:2: y"], hint="help"), 2),
        (PermanentError("never", hint="help"), 3),
        (NotReadyError("late", hint="help"), 4),
    ],
)
def test_every_error_has_its_exit_code_and_no_traceback(error: PrxError, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    """An error that a command raises becomes its message, its problems, its hint and its exit code."""

    @click.command()
    def failing() -> None:
        raise error

    assert run(failing, []) == code
    problems = "".join(f"  {problem}\n" for problem in getattr(error, "problems", ()))
    assert capfd.readouterr().err == f"error: {error.message}\n{problems}hint: help\n"


def test_ctrl_c_is_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    """A command that Ctrl-C ends shows nothing and ends with 130."""

    @click.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert run(interrupted, []) == 130
    assert capfd.readouterr().err.strip() == ""


def test_a_closed_stdout_is_quiet(tmp_path: object) -> None:
    """`prx … | head -1` leaves no complaint on stderr."""
    words = f"{sys.executable} -m prx completions bash | true; echo ${{PIPESTATUS[0]}}"
    for _ in range(3):
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert done.stdout.strip() in {"0", "141"}


@pytest.mark.parametrize(
    "words",
    [
        ("completions", "bash"),
        ("config", "schema"),
        ("--help",),
        ("--version",),
        ("status", "--json"),
        ("report", "--json"),
        ("config", "show"),
        ("doctor", "--help"),
    ],
)
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_has_gone_is_shown_as_in_any_program(words: tuple[str, ...], buffered: str, tmp_path: Path) -> None:
    """`prx … | head` ends with 141 as other programs do, not with 1, which means something else; nothing is said of it."""
    reading, writing = os.pipe()
    os.close(reading)
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PRX_DATA_DIR": str(tmp_path), "PYTHONUNBUFFERED": buffered}
    done = subprocess.run(
        [sys.executable, "-m", "prx", *words], stdout=writing, stderr=subprocess.PIPE, env=environ, cwd=tmp_path, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("words", [[], ["config"], ["secret"]])
def test_a_missing_command_shows_the_help(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """`prx` and its groups alone show their help as talk, as it is, and end with 2: a script must not take it for success."""
    assert run(cli, words) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"Usage: {' '.join(['prx', *words])} ")
    assert shown.err.endswith("\n\nerror: a command is missing\n")


def test_a_full_stdout_is_told() -> None:
    """What cannot be written is an error with its reason, and no traceback."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m prx config schema >/dev/full"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write: no space left on device\nhint: ")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_mistake(closed: str, tmp_path: Path) -> None:
    """A command works without stdin, stdout or stderr, and what it opens does not take their numbers."""
    script = (
        "import os, prx.cli; code = prx.cli.main(['config', 'check']); free = os.open('/', 0); os._exit(code or (free < 3))"
    )
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PRX_DATA_DIR": str(tmp_path)}
    words = f'{sys.executable} -c "{script}" {closed}'
    assert subprocess.run(["bash", "-c", words], env=environ, cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Each shell gets a script that asks `prx` itself."""
    assert run(cli, ["completions", shell]) == 0
    assert "_PRX_COMPLETE" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-c", "x.toml", "80"], {"config": Path("x.toml"), "targets": ("80",), "silent": False}),
        (["-cx.toml", "-qv"], {"config": Path("x.toml"), "targets": (), "silent": True, "verbose": True}),
        (["--name", "-c", "-q", "-c", "x.toml"], {"name": "-c", "config": Path("x.toml"), "silent": True}),
        (["--name=-c", "-v", "80"], {"name": "-c", "config": None, "verbose": True, "targets": ("80",)}),
        (["-c", "-q", "--json"], {"config": Path("-q"), "silent": False, "as_json": True}),
    ],
    ids=" ".join,
)
def test_a_short_option_of_start_means_what_the_long_one_does(words: list[str], expected: dict[str, object]) -> None:
    """Alone, with its value behind it, together with others, and as the value of another option."""
    context = start.make_context("start", list(words))
    assert {name: context.params[name] for name in expected} == expected
