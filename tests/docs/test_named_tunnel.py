"""The how-to "a named tunnel from nothing" works as it stands, from its first command to its last, with no account."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.threads import in_thread

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "a-named-tunnel-from-nothing.md"
BIN = str(Path(sys.executable).parent)


def commands() -> list[str]:
    """Return every line of every `sh` block, in the order of the page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line]


class Background:
    """A command that goes on, as in a terminal of its own; `said` holds its lines."""

    def __init__(self, command: str, environ: dict[str, str], folder: Path) -> None:
        self.said: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            env=environ,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.said.append(line)
                self._news.notify_all()

    def wait_for(self, text: str, within: float = 60) -> None:
        """Wait until it has said this."""
        with self._news:
            assert self._news.wait_for(lambda: text in "".join(self.said), within), "".join(self.said)

    def end(self) -> None:
        """End it as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def origin(seen: list[str], look: Callable[[str], None] = lambda _: None) -> Iterator[int]:
    """Serve 200 to everything, and write down what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "cf-ray" in self.headers:  # came through the tunnel; prx's own probe of the service has none
                seen.append(self.path)
                look(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with in_thread(HTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_port


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    """Set-up, start, a machine that passes, a change, and the removal; the two values of the token are all that stdout gets."""
    environ = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PRX_DATA_DIR": str(tmp_path / "data"),
        "PRX_MASTER_KEY": "correct horse battery",
        "LANG": "C.UTF-8",
    }
    folder = tmp_path / "work"
    folder.mkdir()
    running: list[Background] = []
    done: list[subprocess.CompletedProcess[str]] = []
    seen: list[str] = []
    try:
        with origin(seen) as port:
            for line in commands():
                command = line.replace("--local 8080", f"--local {port}")
                if command in {"prx lab", "prx start --lab"}:
                    running.append(Background(command, environ, folder))
                    running[-1].wait_for("listens" if command == "prx lab" else "protected")
                    continue
                assert not seen or len(running) == 2  # nothing came through before `prx start`
                made = subprocess.run(
                    ["bash", "-c", command], env=environ, cwd=folder, capture_output=True, text=True, timeout=60, check=False
                )
                assert made.returncode == 0, f"{command}\n{made.stdout}{made.stderr}"
                done.append(made)
    finally:
        for item in reversed(running):
            item.end()
    assert len(done) == len(commands()) - 2
    shown = {line.partition("=")[0] for line in (folder / "ci.env").read_text().splitlines()}
    assert shown == {"CF_ACCESS_CLIENT_ID", "CF_ACCESS_CLIENT_SECRET"}
    assert any(item.stdout == "hello" for item in done)
    assert any("nothing to change" in item.stdout for item in done)
    secret = (folder / "ci.env").read_text().split("SECRET=")[1].strip()
    everything = [*(path for path in tmp_path.rglob("*") if path.is_file() and path.name != "ci.env")]
    assert [path for path in everything if secret.encode() in path.read_bytes()] == []
    assert json.loads((tmp_path / "data" / "setups.json").read_text())["setups"] == []
