"""Secrets that stand in URLs: whatever a command says of such a URL, the secret is not in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.security.canaries import canary
from tests.security.scene import NAKED_SOURCE, PRX

from prx.logs.redact import Redactor

FORMS = {
    "password": "http://user:{}@127.0.0.1:1/",
    "token as the name": "http://{}@127.0.0.1:1",
    "password with a slash": "http://user:a/{}@127.0.0.1:1",
    "password with an at sign": "http://user:a@{}@127.0.0.1:1",
    "query": "http://127.0.0.1:1/?access_token={}",
    "fragment": "http://127.0.0.1:1/#access_token={}",
}
COMMANDS = {
    "start": "start {url}",
    "config check": "config check -c {folder}/local_addr.toml",
    "config check, watched URL": "config check -c {folder}/public_url.toml",
    "install from a mirror": "install cloudflared --from {url}",
}


def said(prx: tuple[str, ...], command: str, url: str, folder: Path, **environ: str) -> str:
    """Run a command that fails over `url`; return all that it says."""
    (folder / "local_addr.toml").write_text(f'[tunnel]\nlocal_addr = "{url}"\n')
    (folder / "public_url.toml").write_text(f'[tunnel]\nbackend = "none"\npublic_url = "{url}"\n')
    words = [word.format(url=url, folder=folder) for word in command.split()]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "PRX_DATA_DIR": str(folder / "data"), **environ}
    done = subprocess.run(
        [*prx, *words], env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in {1, 2}, done
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_refused_url_is_told_without_its_secret(tmp_path: Path, command: str, form: str) -> None:
    """The error names the place and shows the URL; its user name, password and token are not shown."""
    secret = canary("url").text
    assert secret not in said(PRX, command, form.format(secret), tmp_path)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_search_finds_what_redaction_hides(tmp_path: Path, form: str) -> None:
    """With redaction switched off `start` shows the secret; what the others say has been through a second net."""
    naked = tmp_path / "naked.py"
    naked.write_text(NAKED_SOURCE)
    secret = canary("url").text
    assert secret in said((sys.executable, "-P", str(naked)), COMMANDS["start"], form.format(secret), tmp_path)


@pytest.mark.parametrize(
    "proxy",
    ["ftp://user:{}@127.0.0.1:1", "http://user:{}@127.0.0.1:port", "http://user:{}@[::1", "socks5://user:{}@127.0.0.1:1"],
)
def test_a_proxy_that_cannot_be_one_is_told_in_words(tmp_path: Path, proxy: str) -> None:
    """HTTPS_PROXY with a mistake in it: no traceback, and nothing of its user's password."""
    secret = canary("proxy").text
    words = said(PRX, "install cloudflared", "", tmp_path, HTTPS_PROXY=proxy.format(secret))
    assert "the proxy that HTTPS_PROXY or ALL_PROXY names cannot be used" in words
    assert secret not in words


@pytest.mark.parametrize(
    "line",
    [
        "http://localhost:5173/@vite/client",
        "http://[::1]:5173/@vite/client",
        "https://user@example.com/x",
        "https://cdn.example.com/npm/@scope/package@1.2.3",
        "mail somebody@example.com about https://example.com:8443/",
    ],
)
def test_an_at_sign_alone_is_no_secret(line: str) -> None:
    """Paths and short user names stay, as a log must be read."""
    assert Redactor().line(line) == line
