"""What prx says when something goes wrong, or when it is asked what is wrong, holds no secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.prx_process import clean_environment
from tests.security.canaries import Canary, canary, leaks, token_canary

import prx.doctor.examine
from prx.cli import main
from prx.doctor.context import Context
from prx.doctor.finding import Finding, Mark
from prx.logs.redact import Redactor

CONFIGURATION = """
[tunnel]
on_url = ["https://user:{password}@hooks.test/{path}?token={query}", "notify --header 'Authorization: Bearer {bearer}'"]
[tunnel.cloudflare]
cloudflared_path = "builtin"
mode = "named"
hostname = "app.example.com"
token = "{token}"
[access]
client_id = "id.access"
client_secret = "{secret}"
"""

# A prx in which a defect shows itself while it holds its secrets; {naked} may switch its redaction off.
BROKEN = """
import logging, sys
from prx.cli import main
from prx.app.session import Session
from prx.logs.redact import Redactor
async def broken(self):
    cloudflare = self._in_force.config.tunnels["default"].cloudflare
    logging.getLogger("asyncio").error("a task failed with %s", cloudflare.token.reveal())
    raise RuntimeError(f"broken with {{cloudflare.token.reveal()}} and {{self._in_force.config.access.client_secret.reveal()}}")
Session._supervise = broken
{naked}
sys.exit(main(["start"]))
"""
NAKED = "Redactor.line = lambda self, text: text"


class Home:
    """A folder with a configuration in which every secret is written out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canaries: dict[str, Canary] = {
            name: canary(name) for name in ("password", "path", "query", "bearer", "secret", "master")
        }
        self.canaries["token"] = token_canary("token")
        self.file = folder / "prx.toml"
        self.file.write_text(CONFIGURATION.format_map({name: item.text for name, item in self.canaries.items()}))
        self.file.chmod(0o600)
        self.environ = clean_environment(folder, PRX_MASTER_KEY=self.canaries["master"].text)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return a home, and stand in it."""
    home = Home(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in home.environ.items():
        monkeypatch.setenv(name, value)
    return home


def crash(home: Home, naked: str) -> str:
    """Run a broken prx and return its last words."""
    script = home.folder / "broken.py"
    script.write_text(BROKEN.format(naked=naked))
    ended = subprocess.run(
        [sys.executable, "-P", str(script)], env=home.environ, cwd=home.folder, text=True, capture_output=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "RuntimeError: broken with" in ended.stderr
    assert "a task failed with" in ended.stderr
    return ended.stderr


def test_a_crash_tells_no_secret(home: Home) -> None:
    """The traceback of a defect and what libraries log show the place, and no secret."""
    assert leaks({"crash": crash(home, "")}, home.canaries) == set()


def test_a_crash_without_redaction_would(home: Home) -> None:
    """The same crash shows the secrets when redaction is switched off."""
    assert leaks({"crash": crash(home, NAKED)}, home.canaries) == {("crash", "token"), ("crash", "secret")}


def plant_findings(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the checks of `prx doctor` meet a world that betrays every secret."""

    async def examine(scene: Context, **_: Any) -> list[Finding]:
        return [
            Finding("service", Mark.WARN, f"it answers: {item.text}", f"do not tell {item.values[-1]}", name)
            for name, item in home.canaries.items()
            if name not in {"password", "path", "query", "bearer"}
        ] + [
            Finding(
                "public-url", Mark.OK, f"https://u:{home.canaries['password'].text}@h/?token={home.canaries['query'].text}"
            ),
            Finding("access", Mark.OK, f"Authorization: Bearer {home.canaries['bearer'].text}"),
        ]

    monkeypatch.setattr(prx.doctor.examine, "examine", examine)


def ask(capsys: pytest.CaptureFixture[str], home: Home) -> dict[str, str]:
    """Run every command that shows what is configured or wrong."""
    found = {}
    for words in (
        "doctor",
        "doctor --json",
        "doctor --report report.txt",
        "config show",
        "config show --origin",
        "config check",
    ):
        main(words.split())
        found[words] = "".join(capsys.readouterr())
    found["report"] = (home.folder / "report.txt").read_text()
    return found


def test_no_answer_shows_a_secret(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`prx doctor`, its JSON and its report, and `prx config show` hide what is configured and what they met."""
    plant_findings(home, monkeypatch)
    assert leaks(ask(capsys, home), home.canaries) == set()
    assert (home.folder / "report.txt").stat().st_mode & 0o777 == 0o600


def test_the_search_finds_what_redaction_hides(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same answers show the secrets when redaction is switched off."""
    plant_findings(home, monkeypatch)
    monkeypatch.setattr(Redactor, "line", lambda self, text: text)
    found = leaks(ask(capsys, home), home.canaries)
    for place in ("doctor", "doctor --json", "report"):
        assert {name for where, name in found if where == place} >= {"token", "secret", "master", "password", "query", "bearer"}
    assert ("config show", "bearer") in found


MISTAKES = [
    'local_addr = "http://user:{c}@127.0.0.1:80"',
    'public_url = "https://user:{c}@a.test/"',
    'doh = ["https://user:{c}@1.1.1.1/dns-query"]',
    'host_header = "Authorization: {c}/"',
    '[tunnel.cloudflare]\ntoken = ["{c}"]',
    '[access]\nclient_secret = {{ is = "{c}" }}',
    '[access]\nclient_secret = "{c}',
    "[access]\nclient_secret = {c}",
]


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_told_without_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """A misplaced secret is in no message."""
    planted = Canary("short", ("hunter2-pw",))
    file = tmp_path / "prx.toml"
    file.write_text(("" if text.startswith("[") else "[tunnel]\n") + text.format(c=planted.text))
    file.chmod(0o600)
    monkeypatch.setenv("PRX_DATA_DIR", str(tmp_path / "data"))
    assert main(["config", "check", "-c", str(file)]) == 2
    said = "".join(capsys.readouterr())
    assert str(file) in said
    assert leaks({"message": said}, {"short": planted}) == set()


@pytest.mark.parametrize("words", ["start {t}", "start http://user:{t}@127.0.0.1:80", "status {t}"])
def test_a_token_on_the_command_line_is_not_repeated(home: Home, capsys: pytest.CaptureFixture[str], words: str) -> None:
    """A token that was pasted as an argument is not in the error."""
    planted = token_canary("pasted")
    assert main(words.format(t=planted.text).split()) != 0
    assert leaks({"message": "".join(capsys.readouterr())}, {"pasted": planted}) == set()
