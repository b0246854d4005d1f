"""The prx that is attacked: how soon it answers and reacts, and what processor time it takes."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

PATIENCE = 30.0


@dataclass
class Figures:
    """Seconds: answers of the control socket, and from the death of a connector until prx says it in its events.

    spent, lasted: processor time of prx alone, and the time in which it was spent.
    """

    answers: list[float] = field(default_factory=list)
    reactions: list[float] = field(default_factory=list)
    spent: float = 0.0
    lasted: float = 0.0

    @property
    def share(self) -> float:
        """How much of a processor prx used."""
        return self.spent / self.lasted if self.lasted else 0.0

    def row(self, name: str) -> str:
        """Return a line of the table."""
        answers = sorted(self.answers)
        times = [*(answers[int(len(answers) * part)] for part in (0.5, 0.95, 0.99)), answers[-1]]
        reaction = statistics.median(self.reactions) if self.reactions else float("nan")
        cells = " | ".join(f"{1000 * item:>7.2f}" for item in (*times, reaction))
        return f"{name:<10} | {len(answers):>7} | {cells} | {100 * self.share:.1f} %"


class Subject:
    """The prx that is measured, over its control socket and its events."""

    def __init__(self, socket_path: Path, events: subprocess.Popen[str]) -> None:
        self.path = socket_path
        self._process = psutil.Process(events.pid)
        self.ready = threading.Event()
        self.url = ""
        self.exits: list[float] = []
        self._news = threading.Condition()
        assert events.stdout is not None
        threading.Thread(target=self._follow, args=(events.stdout,), daemon=True).start()

    def _follow(self, lines: Iterable[str]) -> None:
        for line in lines:
            event = json.loads(line)
            if event["event"] == "child_exited":
                with self._news:
                    self.exits.append(time.perf_counter())
                    self._news.notify_all()
            elif event["event"] == "url_changed":
                self.url = event["url"]
            elif event.get("new") == "ready":
                self.ready.set()

    def measure(self, seconds: float, kills: int, into: Figures) -> None:
        """Ask for `seconds`, and kill the connector `kills` times meanwhile."""
        began, spent = time.perf_counter(), self._spent()
        end = began + seconds
        asker = threading.Thread(target=self._ask, args=(end, into))
        asker.start()
        for _ in range(kills):
            if time.perf_counter() < end:
                self._kill(into)
        asker.join()
        into.spent += self._spent() - spent
        into.lasted += time.perf_counter() - began

    def _spent(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def _ask(self, end: float, into: Figures) -> None:
        from prx.control.client import Client

        with Client(self.path, timeout=PATIENCE) as client:
            while time.perf_counter() < end:
                began = time.perf_counter()
                client.ask("ping")
                into.answers.append(time.perf_counter() - began)
                time.sleep(0.02)

    def _kill(self, into: Figures) -> None:
        from prx.control.client import Client

        with Client(self.path, timeout=PATIENCE) as client:
            self._until_ready(client)
            pid = client.ask("status")["tunnels"][0]["connectors"][0]["pid"]
            seen = len(self.exits)
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            with self._news:
                self._news.wait_for(lambda: len(self.exits) > seen, PATIENCE)
                into.reactions.append(self.exits[seen] - began)
            client.ask("restart")  # without the wait

    def _until_ready(self, client: Any) -> None:
        end = time.perf_counter() + PATIENCE
        while time.perf_counter() < end:
            tunnel = client.ask("status")["tunnels"][0]
            if tunnel["state"] == "ready" and tunnel["connectors"]:
                return
            time.sleep(0.1)
        raise SystemExit("the tunnel did not come up again")
