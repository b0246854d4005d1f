"""`prx start --allow` and `allowed_mail`: a quick tunnel that only guests may visit, or a clear refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.backends.test_command import context, launch, settings
from tests.cli.home import Home
from tests.support.visitor import request

from prx.cli import main
from prx.config.checks import mail_rule
from prx.core.errors import PermanentError

GUESTS = ("you@example.com", "*@example.org")
LIST = '[tunnel.cloudflare]\nallowed_mail = ["a@b.example"]'
FLAGS = ("--allowed-mail", "you@example.com", "--allowed-mail", "*@example.org")


@pytest.mark.parametrize("version", ["cloudflared version 2026.9.3 (built x)", "2026.10.0", "2027.1.0"])
def test_the_guest_list_reaches_cloudflared(version: str) -> None:
    """One flag for each rule, in front of nothing that would end it."""
    argv = launch(settings(allowed_mail=GUESTS), context(version)).argv
    at = argv.index("--allowed-mail")
    assert argv[at : at + 4] == FLAGS
    assert argv[-2:] == ("--url", "http://127.0.0.1:8080")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("2026.9.1", "cloudflared 2026.9.1 cannot protect a quick tunnel: allowed_mail needs 2026.9.3 or later"),
        ("cloudflared version 2022.6.0", "cloudflared 2022.6.0 cannot protect"),
        ("cloudflared version DEV (built unknown)", "a cloudflared of unknown version (cloudflared version DEV"),
        ("", "a cloudflared of unknown version (it says none)"),
    ],
)
def test_what_cannot_protect_is_not_run(version: str, words: str) -> None:
    """A tunnel that was to be protected is never made a public one."""
    with pytest.raises(PermanentError) as caught:
        launch(settings(allowed_mail=GUESTS), context(version))
    assert caught.value.message.startswith(words)
    assert "cloudflared_path" in caught.value.hint


def test_builtin_can() -> None:
    """The connector that comes with prx guards, whatever release it stands in for."""
    argv = launch(settings(allowed_mail=GUESTS, cloudflared_path="builtin"), context("2026.8.2")).argv
    assert "--allowed-mail" in argv
    assert "--allowed-mail" not in launch(settings(), context("2026.10.0")).argv


@pytest.mark.parametrize("text", ["You@Example.COM", "*@example.com", "a.b+c@x-1.example", " you@example.com "])
def test_rules_of_the_configuration(text: str) -> None:
    """What cloudflared takes is taken, in lower case."""
    assert mail_rule(text) == text.strip().lower()


@pytest.mark.parametrize(
    "text", ["you", "@example.com", "you@", "*", "a b@example.com", "you@exa mple.com", "a@b@c", "ä@example.com"]
)
def test_wrong_rules_are_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The place, what was found, what is expected."""
    file = tmp_path / "prx.toml"
    file.write_text(f"[tunnel.cloudflare]\nallowed_mail = [{json.dumps(text, ensure_ascii=False)}]\n")
    assert main(["config", "check", "-c", str(file)]) == 2
    said = capsys.readouterr().err
    assert ":2: tunnel.cloudflare.allowed_mail[0]: found" in said
    assert "expected one mail address such as you@example.com, or *@example.com" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'{LIST}\nmode = "named"\nhostname = "a.example.com"\ntoken = "env:T"\n', "quick"),
        (f'[tunnel]\nbackend = "none"\npublic_url = "https://a.example"\n{LIST}\n', "quick"),
        (f"[tunnel.cloudflare]\nallowed_mail = {json.dumps(['a@b.example'] * 101)}\n", "found 101 rules, expected at most 100"),
    ],
)
def test_a_list_that_nobody_would_ask(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """A tunnel that would be open in spite of it is a mistake in the configuration."""
    monkeypatch.setenv("T", "eyJx")
    file = tmp_path / "prx.toml"
    file.write_text(text)
    file.chmod(0o600)
    assert main(["config", "check", "-c", str(file)]) == 2
    said = capsys.readouterr().err
    assert "tunnel.cloudflare.allowed_mail: " in said
    assert words in said


def test_a_wrong_guest_on_the_command_line(home: Home) -> None:
    """Exit code 2, and the rule in words."""
    done = home.run("start", "8080", "--allow", "a@b.example", "--allow", "nobody")
    assert done.returncode == 2
    assert "--allow: found 'nobody', expected one mail address" in done.stderr


def test_a_protected_tunnel_in_the_lab(home: Home) -> None:
    """It comes up `protected`, a stranger is sent to the login, and no log says who may visit."""
    started = home.start("--hello", "--lab", "--allow", "you@example.com,*@example.org")
    url = urlsplit(started.url(within=60))
    answer = request("GET", url.geturl())
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"http://login.trycloudflare.localhost:{url.port}/authorize?hostname=")
    status = json.loads(home.run("status", "--json").stdout)["tunnels"][0]
    assert (status["state"], status["verdict"]) == ("ready", "protected")
    logs = home.run("logs", "-n", "500").stdout
    assert "protected quick Tunnel" in logs
    assert "you@example.com" not in logs
