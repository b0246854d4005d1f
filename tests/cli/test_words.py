"""What prx answers to words and options that it does not have, to numbers that are none, and how it says things."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.home import PRX, Home
from tests.support.terminal import on_terminal

from prx.cli import main
from prx.config.differences import differences
from prx.config.load import load
from prx.ui import say
from prx.ui.meant import meant_by_option, meant_by_word


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(say, "_quiet", False)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("ps", 2, "did you mean `prx status`?"),
        ("ls", 2, "did you mean `prx status`?"),
        ("http 8080", 2, "did you mean `prx start 8080`?"),
        ("8080", 2, "did you mean `prx start 8080`?"),
        ("localhost:3000", 2, "did you mean `prx start localhost:3000`?"),
        ("up", 2, "did you mean `prx start 8080`?"),
        ("down", 2, "did you mean `prx stop`?"),
        ("stat", 2, "did you mean `prx start`?"),
        ("check", 2, "did you mean `prx doctor`?"),
        ("check 8080", 2, "did you mean `prx doctor`?"),
        ("check prx.toml", 2, "did you mean `prx config check -c prx.toml`?"),
        ("verify -c sub/my.toml", 2, "did you mean `prx config check -c sub/my.toml`?"),
        ("check config", 2, "did you mean `prx config check`?"),
        ("validate", 2, "did you mean `prx config check`?"),
        ("config-check", 2, "did you mean `prx config check`?"),
        ("frobnicate", 2, "hint: commands: start, status"),
        ("help frobnicate", 2, "there is no command 'frobnicate'"),
        ("start --port 8080", 2, "hint: the address stands by itself: prx start 8080"),
        ("start 8080 --domain x", 2, "hint: a name of your own: prx setup"),
        ("start 8080 --no-color", 2, "hint: set NO_COLOR=1"),
        ("start 8080 --report", 2, "error: no such option '--report'\nhint: prx start --help"),
        ("start 8080 --inspec", 2, "hint: did you mean --inspect?"),
        ("-v", 2, "hint: `prx start -v` and `prx logs -v` show more; -V is the version"),
        ("status --verbose", 2, "hint: `prx start -v`"),
        ("status --all", 2, "hint: without a name it concerns all of them"),
        ("completions nope", 2, "error: SHELL: found 'nope', expected one of bash, zsh, fish"),
        ("lab push nope.toml", 2, "error: FILE: 'nope.toml': No such file or directory"),
        ("lab --script nope.txt", 2, "error: --script: 'nope.txt': No such file or directory"),
        ("replay x", 2, "error: [ID]: found 'x', expected a whole number"),
        ("url --wait x", 2, "error: --wait: found 'x', expected a number from 0 to 3600"),
        ("url --wait 9999", 2, "error: --wait: found 9999.0, expected a number from 0 to 3600"),
        ("logs -n x", 2, "error: -n/--lines: found 'x', expected a whole number from 0 to 1000000"),
        ("report --since x", 2, "error: --since: found 'x', expected a span of time such as 12h, 7d or 1d12h"),
        ("start 8080 --ttl x", 2, "error: --ttl: found 'x', expected a time such as 90s, 30m, 1h30m"),
        ("logs --level loud", 2, "error: --level: found 'loud', expected one of debug, info, warn, error"),
        ("start -c /", 2, "error: -c/--config: file '/' is a directory"),
        ("secret set a --expires x", 2, "error: --expires: found 'x', expected a number and a unit"),
        ("doctor nope", 2, "error: 'nope' is not a local address"),
        ("url --wait nan", 2, "error: --wait: found 'nan', expected a number from 0 to 3600"),
        ("requests --timeout nan", 2, "error: --timeout: found 'nan', expected a number from 0 to 3600"),
        ("requests --timeout inf", 2, "error: --timeout: found inf, expected a number from 0 to 3600"),
        ("requests -n -1", 2, "error: -n/--last: found -1, expected a whole number from 0 to 1000000"),
    ],
)
def test_what_is_meant(line: str, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A word that people know from elsewhere leads to prx's own; a hidden option is never suggested; ranges are in words."""
    assert main(line.split()) == code
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


DIGITS = "9" * 5000  # more than Python makes a number of


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "--since", f"{DIGITS}d"], "expected a span of time"),
        (["report", "--since", f"{DIGITS}h"], "expected a span of time"),
        (["report", "--since", "1d\n2h"], "expected a span of time"),
        (["logs", "--since", f"{DIGITS}d1h"], "expected a span of time"),
        (["logs", "-n", DIGITS], "expected a whole number"),
        (["start", "8080", "--detach", "--ttl", f"{DIGITS}h"], "expected a time such as"),
        (["start", "8080", "--ttl", DIGITS], "expected a time such as"),
        (["secret", "set", "a", "--expires", "999999w"], "expected a number and a unit"),
        (["url", "--wait", DIGITS], "expected a number from 0 to 3600"),
        (["replay", DIGITS], "expected a whole number"),
        (["start", DIGITS], "is not a local address"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_numbers_without_end(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A number or a span that is too long to be one is a mistake in the command line, exit code 2, not a traceback."""
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [
        ["config", "check", "-c", "no\x1b[31mfile\x07"],
        ["start", "-c", "no\x1b]0;title\x07file"],
        ["config", "check", "-c", "hook.toml"],
        ["config", "check", "-c", "secret.toml"],
        ["install", "cloudflared", "--from", "no\x1b[2Jfile"],
        ["secret", "set", "a", "--file", "no\u202efile"],
    ],
)
def test_no_name_reaches_the_terminal_as_a_sequence(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file's name in an error or a warning, from the command line or from a file, moves no cursor and sets no colour."""
    (tmp_path / "hook.toml").write_text('[tunnel]\non_url = ["./no\\u001b[31mprogram"]\n')
    (tmp_path / "secret.toml").write_text('[tunnel]\nhook_secret = "file:no\\u001b[31mfile"\n')
    main(words)
    err = capsys.readouterr().err
    assert "no" in err
    assert "file" in err or "program" in err
    assert err.replace("\n", "").isprintable(), err


@pytest.mark.parametrize(("line", "said"), [("version", "prx 0."), ("help", "Commands:"), ("help start", "Usage: prx start")])
def test_words_that_everybody_tries(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`prx version` and `prx help [COMMAND]` do what they say."""
    assert main(line.split()) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("columns", [60, 80, 140])
@pytest.mark.parametrize("line", ["", "start", "url", "status", "doctor", "requests", "config show", "lab fault", "secret set"])
def test_help_fits_the_terminal(
    line: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line of a help is wider than the terminal, its examples and tables included, and no word is cut."""
    shown = {}
    for width in (columns, 1000):
        monkeypatch.setenv("COLUMNS", str(width))
        assert main([*line.split(), "--help"]) == 0
        shown[width] = capsys.readouterr().out
    assert max(len(row) for row in shown[columns].splitlines()) <= columns
    assert sorted(shown[columns].split()) == sorted(shown[1000].split())


def test_what_is_meant_exists() -> None:
    """What is suggested is a command, and no word that prx has is taken for another."""
    from prx.cli.root import COMMANDS

    for word in ("ps", "http", "down", "auth", "ui", "update", "init", "tail", "create", "remove"):
        assert meant_by_word(word).split()[1] in COMMANDS
        assert word not in COMMANDS
    assert (meant_by_word("frobnicate"), meant_by_option("--json")) == ("", "")


def test_no_prx_is_no_tunnel(capsys: pytest.CaptureFixture[str]) -> None:
    """A script gets an empty list from `status --json`, and the exit code that says why."""
    assert main(["status", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"tunnels": []}
    assert "prx is not running" in err


@pytest.mark.parametrize("line", ["-q forget", "forget -q"])
def test_quiet(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With -q, before or behind the command, nothing is said but errors and warnings."""
    assert main(line.split()) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["-q", "stop"]) == 3
    assert "prx is not running" in capsys.readouterr().err


def test_words_are_not_broken_on_a_terminal(home: Home) -> None:
    """At 60 columns an error, its problems and its hint are broken between words, and go on further in."""
    (home.folder / "prx.toml").write_text('[tunnel]\nlocal_addr = "nope"\n')
    with on_terminal([*PRX, "config", "check"], home.environ | {"COLUMNS": "60"}, home.folder) as terminal:
        assert terminal.end() == 2
    lines = terminal.screen.replace("\r", "").split("\n")
    assert max(len(line) for line in lines) <= 60
    assert "".join(lines).count("127.0.0.1:8080") == 1
    piped = home.run("config", "check").stderr.splitlines()
    assert len(piped) == 2
    assert max(len(line) for line in piped) > 60


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[tunnel]\non_url = ["./missing.sh"]\n', "default: on_url: there is no file missing.sh"),
        ('[tunnel]\non_change = ["no-such-program x"]\n', "default: on_change: there is no program 'no-such-program' in PATH"),
        ('[tunnel]\non_url = ["./here.sh"]\n', "here.sh is not executable: chmod +x here.sh"),
        ('[tunnel]\non_url = ["https://hooks.example.com/x", "true"]\n', ""),
    ],
)
def test_a_hook_that_is_not_there(text: str, said: str) -> None:
    """A hook whose program cannot be found is warned of at the check and at the start, not with the first new URL."""
    Path("here.sh").write_text("#!/bin/sh\n")
    Path("prx.toml").write_text(text)
    warnings = load(Path("prx.toml"), {}).warnings
    assert [said in item for item in warnings] == ([True] if said else [])


@pytest.mark.parametrize(
    "token", ["eyJhIjoiNjY...", "sudo cloudflared service install eyJhIjoiNjY5", "not-a-token", "eyJhIjoiYiJ9"]
)
def test_a_token_that_cannot_be_one_is_found_by_the_check(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`config check` refuses what a start would refuse, and shows none of it."""
    file = Path("prx.toml")
    file.write_text(f'[tunnel.cloudflare]\nmode = "named"\nhostname = "a.example.com"\ntoken = "{token}"\n')
    file.chmod(0o600)
    assert main(["config", "check"]) == 2
    out, err = capsys.readouterr()
    assert (out, "prx.toml:4: tunnel.cloudflare.token: found " in err) == ("", True)
    assert token.rsplit(maxsplit=1)[-1] not in err


def test_a_list_of_tunnels_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """The error for [[tunnels]] says how a tunnel's table is written."""
    Path("prx.toml").write_text("[[tunnels]]\nlocal_addr = '80'\n")
    assert main(["config", "check"]) == 2
    assert "tunnels: found a list, expected a table: [tunnels.NAME]" in capsys.readouterr().err


def test_a_reload_says_what_changed() -> None:
    """Tunnels that are new or gone, and the keys that changed, but never a value."""

    def config(text: str) -> object:
        Path("x.toml").write_text(text)
        Path("x.toml").chmod(0o600)
        return load(Path("x.toml"), {}).config

    before = config('[tunnels.a]\nlocal_addr = "1"\n[tunnels.b]\n[tunnels.c.cloudflare]\nprotocol = "quic"\n')
    after = config('log_level = "warn"\n[tunnels.a]\nlocal_addr = "2"\n[tunnels.c.cloudflare]\nretries = 9\n[tunnels.d]\n')
    assert differences(before, before) == []  # type: ignore[arg-type]
    assert differences(before, after) == [  # type: ignore[arg-type]
        "d: new", "b: gone", "a: local_addr", "c: cloudflare.protocol, cloudflare.retries", "log_level",
    ]  # fmt: skip
