"""Run the commands of a page in their order, as a reader types them, and compare what they print with what the page shows.

A folder is the reader's home; port 8080 and its like are free ones; `prx start` gets `--lab` if the page has none, as there is
no Internet here. Nothing else is changed. In what the page shows `…` stands for anything, a line of it alone for any lines.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.docs.blocks import Block
from tests.support.waits import free_port

BIN = Path(sys.executable).parent
_PORTS = ("8080", "8081", "8082", "9464", "3000", "4141", "7844", "7800", "8443")
_PATIENCE = 40.0  # seconds for a command, and for what it shows
_ASKS_AGAIN = ("prx status", "prx why", "prx report", "prx logs", "prx requests", "curl")  # the page says "within seconds"
_GOOD = {"prx doctor": {0, 1}}  # without the Internet something is wrong
_NPM = '#!/bin/sh\nexec python3 -m http.server --bind 127.0.0.1 "$PORT"\n'


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and the lines that the page shows below it."""

    command: str
    shown: list[str]


def steps_of(block: Block) -> Iterator[Step]:
    """Yield the commands of a block; several that stand side by side in one line (`·`) are several."""
    lines = block.text.replace("\\\n", " ").split("\n")
    command, shown = "", []
    for line in lines:
        prompt = block.language == "sh" or line.startswith(("$ ", "# "))
        if not prompt:
            shown.append(line)
            continue
        if command:
            yield Step(command, [text for text in shown if text])
        words = line if block.language == "sh" else line[2:]
        *first, command = re.split(r" · ", re.sub(r"\s+#\s.*", "", words).strip())
        for part in first:
            yield Step(part, [])
        command, shown = command if not command.startswith("#") else "", []
    if command:
        yield Step(command, [text for text in shown if text])


class _Origin:
    """The reader's service: 200 for everything."""

    def __init__(self, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "6")
                self.end_headers()
                self.wfile.write(b"hello\n")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class PageRun:
    """A reader's home in `folder`. `serves`: the reader has a service on port 8080; else a file of the page is it."""

    def __init__(self, folder: Path, *, serves: bool) -> None:
        self._folder = folder
        self._ports = {port: str(free_port()) for port in _PORTS}
        self._serves = serves
        self._origin: _Origin | None = None
        self._running: list[tuple[str, subprocess.Popen[bytes], Path]] = []
        self._count = 0
        self._own: Path | None = None
        (folder / "bin").mkdir()
        (folder / "bin" / "npm").write_text(_NPM)
        (folder / "bin" / "npm").chmod(0o755)
        (folder / "work").mkdir()
        self._environ = {
            "PATH": f"{folder}/bin:{BIN}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PRX_DATA_DIR": str(folder / "data"),
            "PRX_MASTER_KEY": "correct horse battery",
            "DEMO_LOGIN": "me:a-long-password",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
        }

    def write(self, name: str, text: str) -> None:
        """Write a file of the page."""
        (self._folder / "work" / name).write_text(self._fit(text))

    def take(self, step: Step) -> None:
        """Run one command, and hold it to what the page shows."""
        command = self._fit(step.command)
        shown = [self._fit(line) for line in step.shown]
        verb = " ".join(word for word in shlex.split(command) if "=" not in word).partition(" -")[0]
        if verb.startswith("prx start") and "--detach" not in command:
            self._start(command if "--lab" in command else command.replace("prx start", "prx start --lab", 1), "start", shown)
        elif re.fullmatch(r"prx (lab|web)", verb):
            own = f" --listen 127.0.0.1:{self._ports['4141']}" if verb == "prx web" else ""
            self._start(command + own, verb.split()[1], shown)
        elif " -f" in command:
            self._start(command, "follow", shown)
        else:
            self._run(command, shown)

    def close(self) -> None:
        """End whatever the page has started."""
        for _, process, _ in reversed(self._running):
            self._end(process)
        self._set_origin(wanted=False)
        for file in self._folder.glob("work/*.pid"):
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)

    # ------------------------------------------------------------------ one command

    def _start(self, command: str, kind: str, shown: list[str]) -> None:
        """Run a command that goes on, and wait for what it shows first."""
        for item in [item for item in self._running if item[0] == kind]:
            self._end(item[1])
            self._running.remove(item)
        if kind == "start":
            self._have_file("prx.toml", wanted="-c prx.toml" in command)
            self._set_origin(wanted=self._serves and " -- " not in command)
        said = self._said()
        with said.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"],
                cwd=self._folder / "work",
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._running.append((kind, process, said))
        first = {"start": ["public at …"], "lab": ["the lab listens…"], "web": ["http://…"]}.get(kind, [])
        self._until(lambda: differs(said.read_text(), shown or first), lambda: process.poll() is None, command, said)

    def _run(self, command: str, shown: list[str]) -> None:
        """Run a command to its end; one that only asks is asked again until it shows what the page does."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            said = self._said()
            with said.open("wb") as out:
                done = subprocess.run(
                    ["bash", "-c", command],
                    cwd=self._folder / "work",
                    env=self._environ,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    timeout=_PATIENCE,
                    check=False,
                )
            text = said.read_text()
            good = next((codes for words, codes in _GOOD.items() if command.startswith(words)), {0})
            problem = differs(text, shown) or ("" if done.returncode in good else f"exit code {done.returncode}")
            if not problem:
                return
            assert command.startswith(_ASKS_AGAIN), f"{command}: {problem}\n{text}"
            assert time.monotonic() < deadline, f"{command}: {problem}\n{text}"
            time.sleep(0.3)  # the page says "within seconds"; there is no event that a reader could wait for

    def _until(self, differs: object, lives: object, command: str, said: Path) -> None:
        assert callable(differs)
        assert callable(lives)
        deadline = time.monotonic() + _PATIENCE
        while problem := differs():
            assert lives(), f"{command} has ended: {problem}\n{said.read_text()}"
            assert time.monotonic() < deadline, f"{command}: {problem}\n{said.read_text()}"
            time.sleep(0.1)

    def _have_file(self, name: str, *, wanted: bool) -> None:
        """Have a configuration of the reader's own, in a command that names one which the page does not show."""
        file = self._folder / "work" / name
        if wanted and not file.exists():
            file.write_text(self._fit('[tunnel]\nlocal_addr = "127.0.0.1:8080"\n'))
            self._own = file
        elif not wanted and self._own == file:
            file.unlink(missing_ok=True)

    def _said(self) -> Path:
        self._count += 1
        return self._folder / f"said-{self._count}"

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _set_origin(self, *, wanted: bool) -> None:
        if wanted and self._origin is None:
            self._origin = _Origin(int(self._ports["8080"]))
        elif not wanted and self._origin is not None:
            self._origin.close()
            self._origin = None

    def _fit(self, text: str) -> str:
        """Return text of the page with free ports in place of its own."""
        return re.sub(
            rf"(?<![\w.-])({'|'.join(_PORTS)})(?![\w-])|(?<=:)({'|'.join(_PORTS)})\b", lambda m: self._ports[m[0]], text
        )


def differs(said: str, shown: list[str]) -> str:
    """Return the first line of what the page shows that is not, in this order, in what was said; empty if all are."""
    lines = iter(said.splitlines())
    for line in shown:
        if line.strip() == "…":
            continue
        words = [re.escape(word).replace("…", ".*") for word in line.strip("… ").split()]
        pattern = re.compile(r"\s+".join(words))
        if not any(pattern.search(text) for text in lines):
            return f"the page shows {line!r}"
    return ""
