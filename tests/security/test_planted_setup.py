"""What `prx setup` and its kin handle as secrets is in no output, no file that is not for it, and on no command line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.cloudflare_api.standin import Stand, running
from tests.e2e.prx_process import PRX, clean_environment
from tests.support.threads import in_thread

NAME = "agent.prx.localhost"
ALLOW = ("--allow", "you@example.com", "--service-token", "ci", "--service-token", "kept=secret:kept")


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """Yield a lab with its API."""
    with running() as found:
        yield found


class Scene:
    """A home, and every output of the commands that ran there."""

    def __init__(self, folder: Path, stand: Stand) -> None:
        self.folder = folder
        self.environ = {
            **clean_environment(folder),
            "PRX_MASTER_KEY": "correct horse battery",
            "PRX_CLOUDFLARE_API": stand.lab.api,
            "TUNNEL_ORIGIN_CERT": str(folder / "no-cert.pem"),
        }
        self.outputs: dict[str, str] = {}
        self.argv: list[str] = []

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command, read every command line of its process tree, and keep what it says."""
        process = subprocess.Popen(
            [PRX, *words],
            cwd=self.folder,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with suppress(psutil.Error):
            self.argv += psutil.Process(process.pid).cmdline()
        out, err = process.communicate(timeout=60)
        key = f"{len(self.outputs)} {' '.join(words)}"
        self.outputs |= {f"{key} stdout": out, f"{key} stderr": err}
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def files(self) -> dict[str, bytes]:
        """Return every file of the home."""
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()}


def test_no_secret_of_a_set_up_is_seen(stand: Stand, tmp_path: Path) -> None:
    """API token, tunnel token and a kept service token are nowhere; a printed one is on stdout, once, and nowhere else."""
    scene = Scene(tmp_path, stand)
    token = {"CLOUDFLARE_API_TOKEN": stand.lab.api_token}
    held = tmp_path / "api-token"
    held.touch(mode=0o600)
    held.write_text(stand.lab.api_token)
    scene.run("setup", NAME, *ALLOW, "--plan", "--json", **token)
    made = scene.run("setup", NAME, *ALLOW, "--yes", **token)
    assert made.returncode == 0, made.stderr
    printed = made.stdout.split("SECRET=")[1].strip()
    for words in (
        ("setup", "--plan", "--token-from", f"file:{held}"),
        ("tunnels",),
        ("tunnels", "--json", "--token-from", f"file:{held}"),
        ("status",),
        ("doctor", "--json", "--report", "report.txt"),
        ("config", "show", "--origin"),
        ("teardown", NAME, "--plan"),
    ):
        scene.run(*words, **({} if "--token-from" in words else token))
    again = scene.run("setup", NAME, "--allow", "you@example.com", "--service-token", "late", "--yes", "--json", **token)
    (told,) = json.loads(again.stdout)["service_tokens"]
    secrets = stand.do(lambda: [item.secret for item in stand.account.access.service_tokens.values()])
    tunnels = stand.do(lambda: [item.token() for item in stand.lab._registry if not item.quick])
    scene.run("teardown", NAME, "--yes", **token)
    everywhere = {**{name: text.encode() for name, text in scene.outputs.items()}, **scene.files()}
    everywhere["argv"] = " ".join(scene.argv).encode()
    del everywhere[str(held)]
    for secret in {stand.lab.api_token, *tunnels, *secrets, printed} - {printed, told["client_secret"]}:
        assert [name for name, content in everywhere.items() if secret.encode() in content] == []
    assert [name for name, content in everywhere.items() if printed.encode() in content] == [
        next(name for name, text in scene.outputs.items() if text == made.stdout)
    ]
    seen = [name for name, content in everywhere.items() if told["client_secret"].encode() in content]
    assert seen == [next(name for name, text in scene.outputs.items() if text == again.stdout)]


@contextmanager
def echoing() -> Iterator[str]:
    """Serve an API that answers with what it was sent, the token included, as JSON, as HTML, and in words of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.headers.get("Authorization", "")
            if "html" in self.path:
                body, kind = f"<html>{sent}</html>".encode(), "text/html"
            else:
                errors = [{"code": 1, "message": f"no such thing for {sent} \x1b[2J"}]
                body, kind = json.dumps({"success": False, "errors": errors, "result": None}).encode(), "application/json"
            self.send_response(400)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with in_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


TOKENS = [
    "cfut_" + "aB3" * 13 + "x",
    "cfat_" + "aB3" * 13 + "x",
    "Q" * 40,
    "oauth-token-without-a-shape-0123456789",
]


@pytest.mark.parametrize("token", TOKENS, ids=["user", "account", "old", "oauth"])
@pytest.mark.parametrize("path", ["/client/v4", "/html"])
def test_an_api_that_says_the_token_back_is_not_believed(stand: Stand, tmp_path: Path, token: str, path: str) -> None:
    """Whatever Cloudflare, or what stands there, writes into an error: the token is taken out, and terminals are safe."""
    scene = Scene(tmp_path, stand)
    with echoing() as base:
        for words in (("setup", NAME, "--yes"), ("tunnels",), ("teardown", NAME, "--json", "--yes"), ("setup", NAME, "--plan")):
            done = scene.run(*words, CLOUDFLARE_API_TOKEN=token, PRX_CLOUDFLARE_API=f"{base}{path}")
            assert done.returncode == 1, done.stderr
            assert done.stderr.startswith("error: ")
    everything = [text.encode() for text in scene.outputs.values()] + list(scene.files().values())
    assert [text for text in everything if token.encode() in text or b"\x1b" in text] == []


def test_a_token_on_the_command_line_is_refused(stand: Stand, tmp_path: Path) -> None:
    """--token-from takes references alone, and does not repeat what stood there."""
    scene = Scene(tmp_path, stand)
    done = scene.run("tunnels", "--token-from", TOKENS[0])
    assert done.returncode == 2
    assert TOKENS[0] not in done.stderr
    assert "CLOUDFLARE_API_TOKEN" in done.stderr


def test_files_of_a_set_up_are_private(stand: Stand, tmp_path: Path) -> None:
    """Journal, lock and a new configuration file have mode 0600, under any umask; an existing file keeps its own."""
    scene = Scene(tmp_path, stand)
    old = os.umask(0)
    try:
        scene.run("setup", NAME, "--yes", CLOUDFLARE_API_TOKEN=stand.lab.api_token)
    finally:
        os.umask(old)
    for path in (tmp_path / "prx.toml", tmp_path / "data" / "setups.json", tmp_path / "data" / "setups.lock"):
        assert oct(path.stat().st_mode & 0o777) == "0o600", path
    (tmp_path / "prx.toml").chmod(0o640)
    scene.run("teardown", NAME, "--yes", CLOUDFLARE_API_TOKEN=stand.lab.api_token)
    assert oct((tmp_path / "prx.toml").stat().st_mode & 0o777) == "0o640"
