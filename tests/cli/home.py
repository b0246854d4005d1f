"""`prx` as a user runs it: a real process, in a home of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

PRX = (sys.executable, "-m", "prx")


class Started:
    """A `prx start …` that runs; its stdout and stderr are collected."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.talk: list[str] = []
        self._news = threading.Condition()
        self._readers = [self._collect(process.stdout, self.lines), self._collect(process.stderr, self.talk)]

    def _collect(self, stream: object, into: list[str]) -> threading.Thread:
        def run() -> None:
            for line in stream:  # type: ignore[attr-defined]  # an open text pipe
                with self._news:
                    into.append(line.rstrip("\n"))
                    self._news.notify_all()

        reader = threading.Thread(target=run)
        reader.start()
        return reader

    def wait_for(self, text: str, within: float = 30) -> str:
        """Return the first line of either stream that holds `text`."""
        with self._news:
            self._news.wait_for(lambda: any(text in line for line in [*self.lines, *self.talk]), within)
            found = [line for line in [*self.lines, *self.talk] if text in line]
        assert found, f"no {text!r} in {self.lines} {self.talk}"
        return found[0]

    def url(self, number: int = 1, within: float = 30) -> str:
        """Return the `number`-th line of stdout: a verified URL."""
        with self._news:
            self._news.wait_for(lambda: len(self.lines) >= number, within)
        assert len(self.lines) >= number, self.talk
        return self.lines[number - 1]

    def send(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, within: float = 30) -> int:
        """Wait for the end and return the exit code (negative: killed by a signal)."""
        code = self.process.wait(within)
        for reader in self._readers:
            reader.join(within)
        return code


class Home:
    """A user's home and current folder, and the commands that are run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Started] = []
        self.environ = {
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "PRX_DATA_DIR": str(folder / "data"),
            "LANG": "C.UTF-8",
        }

    def run(self, *arguments: str, within: float = 30, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        env = self.environ | environ
        return subprocess.run(
            [*PRX, *arguments], env=env, cwd=self.folder, text=True, capture_output=True, timeout=within, check=False
        )

    def popen(self, *arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
        """Run a command that takes its time; the caller ends it and closes its pipes."""
        return subprocess.Popen(
            [*PRX, *arguments], env=self.environ, cwd=self.folder, text=True, stdin=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def start(self, *arguments: str, **environ: str) -> Started:
        """Start `prx start …` and let it run."""
        process = subprocess.Popen(
            [*PRX, "start", *arguments],
            env=self.environ | environ,
            cwd=self.folder,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started.append(Started(process))
        return self.started[-1]

    def close(self) -> None:
        """End whatever still runs."""
        self.run("stop")
        for started in self.started:
            if started.process.poll() is None:
                os.kill(started.process.pid, signal.SIGKILL)
            started.end()
            for stream in (started.process.stdout, started.process.stderr):
                assert stream is not None
                stream.close()
