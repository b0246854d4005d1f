"""`prx config`."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from prx.cli import main
from prx.core.tunnel_token import TunnelToken

TOKEN = TunnelToken("0" * 32, UUID(int=7), b"s" * 32).encode()
BAD = '[tunnel]\nbackend = "x"\nmax_failure = 1\n'


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run every test in an empty folder that is also the home, with no variable set."""
    for name in ("PRX_CONFIG", "PRX_LOG", "PRX_DATA_DIR", "PRX_TUNNEL_BACKEND", "PRX_TUNNEL_LOCAL_ADDR", "PRX_TUNNEL_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in (
        "CLOUDFLARE_TUNNEL_TOKEN",
        "CF_ACCESS_CLIENT_ID",
        "CF_ACCESS_CLIENT_SECRET",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_check_says_ok(capsys: pytest.CaptureFixture[str]) -> None:
    """A sound file is named on stdout; without a file the defaults are sound."""
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out == "ok: no file, the defaults\n"
    Path("prx.toml").write_text("[tunnel]\n")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out == "ok: prx.toml\n"


def test_check_names_all_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    """Every mistake is on stderr, stdout stays empty, and the exit code is 2."""
    Path("other.toml").write_text(BAD)
    assert main(["config", "check", "-c", "other.toml"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert 'other.toml:2: tunnel.backend: found "x", expected one of cloudflare, none' in said.err
    assert "other.toml:3: tunnel.max_failure: unknown key; did you mean max_failures?" in said.err


def test_check_tells_of_settings_without_effect(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is talk: on stderr, with exit code 0."""
    Path("prx.toml").write_text('[tunnel.cloudflare]\nhostname = "a.b"\n')
    assert main(["config", "check"]) == 0
    assert "warning: prx.toml:2: tunnel.cloudflare.hostname: not used" in capsys.readouterr().err


def test_check_looks_for_the_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """A token that cannot be had is found before the start; file: begins at the folder of the configuration."""
    Path("sub").mkdir()
    file = Path("sub/prx.toml")
    file.write_text('[tunnel.cloudflare]\nmode = "named"\nhostname = "a.b"\ntoken = "file:token"\n')
    assert main(["config", "check", "-c", str(file)]) == 2
    assert "sub/prx.toml:4: tunnel.cloudflare.token: " in capsys.readouterr().err
    Path("sub/token").write_text(f"{TOKEN}\n")
    Path("sub/token").chmod(0o600)
    assert main(["config", "check", "-c", str(file)]) == 0
    file.write_text('[tunnel.cloudflare]\ntoken = "secret:gone"\n')
    assert main(["config", "check", "-c", str(file)]) == 2
    assert "gone" in capsys.readouterr().err


def test_show(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`show` prints TOML, `--origin` adds where each value came from, and no secret is in either."""
    monkeypatch.setenv("CLOUDFLARE_TUNNEL_TOKEN", "open sesame")
    assert main(["config", "show"]) == 0
    plain = capsys.readouterr().out
    assert main(["config", "show", "--origin"]) == 0
    origins = capsys.readouterr().out
    assert 'token = "***"  # fingerprint ' in plain
    assert 'token = "***"  # environment variable CLOUDFLARE_TUNNEL_TOKEN, fingerprint ' in origins
    assert "sesame" not in plain + origins


def test_init_writes_a_private_file_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`init` writes the user's own file with mode 0600, prints its path, and never overwrites."""
    own = tmp_path / ".config" / "prx" / "config.toml"
    assert main(["config", "init"]) == 0
    out, err = capsys.readouterr()
    assert (out, "prx config init -c prx.toml" in err) == (f"{own}\n", True)
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    own.write_text("# mine\n")
    assert main(["config", "init"]) == 2
    assert "left alone" in capsys.readouterr().err
    assert own.read_text() == "# mine\n"
    assert main(["config", "init", "-c", "here/prx.toml"]) == 0
    assert main(["config", "check", "-c", "here/prx.toml"]) == 0
    assert main(["config", "init", "-c", "here/prx.toml/x"]) == 2
    assert "cannot write here/prx.toml/x: " in capsys.readouterr().err


def test_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`path` prints the file that is read, or the one that would be, with a remark on stderr."""
    assert main(["config", "path"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path}/.config/prx/config.toml\n"
    assert "no such file yet" in said.err
    Path("prx.toml").touch()
    assert main(["config", "path"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("prx.toml\n", "")


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """`schema` prints JSON."""
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$defs"]["TunnelSettings"]


NAMED = '[tunnel.cloudflare]\nmode = "named"\nhostname = "a.example.com"\ntoken = '


@pytest.mark.parametrize(
    "token",
    [
        TOKEN[:-3],  # cut at its very end
        TOKEN[:-40],  # cut within JSON
        TOKEN[:29],
        TOKEN[40:],
        "eyJhIjoiNjY...",
        "sudo cloudflared service install eyJhbGci",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",  # of Access
        '{"AccountTag":"x","TunnelSecret":"y"}',
        "prx-agent",
    ],
)
@pytest.mark.parametrize("how", ["written", "env", "file"])
def test_check_finds_a_token_that_cannot_work(
    token: str, how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short, pasted wrongly, another secret: its place and what is expected are named, and no part of it is shown."""
    Path("token").write_text(token)
    Path("token").chmod(0o600)
    monkeypatch.setenv("A_TOKEN", token)
    Path("prx.toml").write_text(
        NAMED + {"written": json.dumps(token), "env": '"env:A_TOKEN"', "file": '"file:token"'}[how] + "\n"
    )
    Path("prx.toml").chmod(0o600)
    assert main(["config", "check"]) == 2
    captured = capsys.readouterr()
    assert "prx.toml:4: tunnel.cloudflare.token: found " in captured.err
    assert "expected" in captured.err
    words = [word for word in token.split() if len(word) > 8 and word not in {"cloudflared", "service", "install"}]
    assert not any(word[:12] in captured.err for word in words)
    assert captured.out == ""


def test_check_takes_a_token_as_it_is_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    """What the start repairs is no mistake; a token that is not used is none either."""
    for text in (TOKEN, f" {TOKEN}\n", TOKEN.rstrip("="), f"cloudflared tunnel run --token {TOKEN}"):
        Path("prx.toml").write_text(NAMED + json.dumps(text) + "\n")
        Path("prx.toml").chmod(0o600)
        assert main(["config", "check"]) == 0, capsys.readouterr().err
    Path("prx.toml").write_text('[tunnel.cloudflare]\ntoken = "nonsense"\n')
    assert main(["config", "check"]) == 0


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ('on_url = ["./missing.sh a"]', "on_url", "no such file"),
        ('on_url = ["true", "./plain.txt"]', "on_url", "not executable"),
        ('on_change = ["./folder"]', "on_change", "no file"),
        ("on_change = ['sh -c \"x']", "on_change", "quotes"),
        ('url_env_file = "folder"', "url_env_file", "no file"),
        ('url_env_file = "no/such/folder/.env"', "url_env_file", "folder is not there"),
        ('local_addr = "https://127.0.0.1:1"\norigin_ca = "none.pem"', "origin_ca", "no such file"),
        ('local_addr = "https://127.0.0.1:1"\norigin_ca = "folder"', "origin_ca", "no file"),
        ('local_addr = "https://127.0.0.1:1"\norigin_ca = "plain.txt"', "origin_ca", "no certificate"),
    ],
)
def test_check_finds_what_is_named_and_cannot_be_used(
    text: str, key: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file or a program that is missing, or is something else, is found before the start, and nothing is executed."""
    Path("folder").mkdir()
    Path("plain.txt").write_text("words\n")
    Path("prx.toml").write_text(f"[tunnel]\n{text}\n")
    assert main(["config", "check"]) == 2
    err = capsys.readouterr().err
    assert f"tunnel.{key}: found " in err
    assert words in err
    assert "expected" in err


def _foreign(file: Path) -> None:
    os.chown(file, 4242, 4242)


def _in_an_open_folder(file: Path) -> None:
    file.parent.chmod(0o777)


REFUSED: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "writable by all": ("./hooks/run.sh", lambda file: file.chmod(0o777), "written by everybody"),
    "in an open folder": ("./hooks/run.sh a", _in_an_open_folder, "written by everybody"),
    "given to a shell": ("sh ./hooks/run.sh", lambda file: file.chmod(0o777), "written by everybody"),
    "given to Python": ("python3 -u hooks/run.sh", lambda file: file.chmod(0o777), "written by everybody"),
    "of another user": ("./hooks/run.sh", _foreign, "belongs to another user"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("key", ["on_url", "on_change"])
def test_check_finds_a_hook_that_will_not_be_run(kind: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What others could have put there is refused when it is to run, so it is found before the start; nothing is executed."""
    command, spoil, words = REFUSED[kind]
    if spoil is _foreign and os.geteuid() != 0:
        pytest.skip("needs root")
    file = Path("hooks", "run.sh")
    file.parent.mkdir(mode=0o700)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o700)
    Path("prx.toml").write_text(f"[tunnel]\n{key} = [{json.dumps(command)}]\n")
    assert main(["config", "check"]) == 0, capsys.readouterr().err
    spoil(file)
    assert main(["config", "check"]) == 2
    err = capsys.readouterr().err
    assert f"tunnel.{key}: found " in err
    assert words in err.replace("\n", " ")
    assert "run.sh" in err


def test_check_takes_what_can_be_used() -> None:
    """A program in PATH or beside the file, a URL, a file that is made at the first URL."""
    Path("here.sh").write_text("#!/bin/sh\n")
    Path("here.sh").chmod(0o700)
    Path("prx.toml").write_text(
        '[tunnel]\non_url = ["./here.sh x", "notify-me", "https://a.example/"]\nurl_env_file = ".env"\n'
    )
    assert main(["config", "check"]) == 0


_BAD_TOKEN = 'mode = "named"\nhostname = "a.example.com"\ntoken = "eyJhIjoiNjY"\n'


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('[tunnel]\nlocal_addr = "nope"\n[tunnel.cloudflare]\n' + _BAD_TOKEN, [2, 6]),
        ('[tunnel]\nnonsense = 1\n[tunnel.cloudflare]\nmode = "named"\ntoken = "eyJhIjoiNjY"\n', [2, 4, 5]),
        ('[tunnel]\nmax_failures = -1\nurl_env_file = "not/there/.env"\n', [2, 3]),
        ('[tunnel]\nmax_failures = "3"\non_url = ["./not-there.sh"]\non_change = ["\'x"]\n', [2, 3, 4]),
        ('[web]\nlisten = "here"\n[tunnel]\nlocal_addr = "https://127.0.0.1:8443"\norigin_ca = "not-there.pem"\n', [2, 5]),
        ("[tunnels.a]\nmax_failures = 0.5\n[tunnels.b.cloudflare]\n" + _BAD_TOKEN, [2, 6]),
        ('[tunnel]\nlocal_addr = "nope"\n', [2]),
    ],
    ids=["token", "token and no host name", "dotenv file", "hooks", "certificate", "another tunnel", "one"],
)
def test_all_mistakes_at_once(text: str, places: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    """What the schema forbids and what prx could not use is reported together, in the order of the file, each once."""
    file = Path("prx.toml")
    file.write_text(text)
    file.chmod(0o600)
    assert main(["config", "check"]) == 2
    out, err = capsys.readouterr()
    first, *lines = err.splitlines()
    assert [int(line.strip().split(":")[1]) for line in lines] == places
    assert (out, first) == ("", f"error: the configuration has {len(places)} problem{'s' if places[1:] else ''}")
    assert "eyJhIjoi" not in err


@pytest.mark.parametrize(
    "text",
    [
        '[tunnel.cloudflare]\nmode = "nmaed"\nhostname = "a.example.com"\ntoken = "eyJhIjoiNjY"\n',
        '[tunnel]\nbackend = "cloudflrae"\n[tunnel.cloudflare]\n' + _BAD_TOKEN,
        '[tunnel.cloudflare]\nmode = "named"\nhostname = "a.example.com"\ntoken = 5\n',
        '[tunnel]\nlocal_addr = "htps://x"\norigin_ca = "not-there.pem"\n',
    ],
    ids=["mode", "backend", "the token itself", "the address"],
)
def test_what_follows_from_a_mistake_is_not_judged(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """If a token or a certificate is needed at all is not known while the key is mistaken that says so."""
    file = Path("prx.toml")
    file.write_text(text)
    file.chmod(0o600)
    assert main(["config", "check"]) == 2
    assert "the configuration has 1 problem\n" in capsys.readouterr().err
