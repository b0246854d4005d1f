"""The scripted fake client for synchronous tests: `prx.testing.fake_cloudflared.scripted`, every method a plain call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prx.testing.fake_cloudflared.scripted import FakeRun, ScriptedFake
from prx.testing.hosted import Hosted, hosted


class FakeClientRun:
    """One run of the fake."""

    def __init__(self, host: Hosted[ScriptedFake], run: FakeRun) -> None:
        self._host = host
        self._run = run

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._run.pid

    @property
    def record(self) -> dict[str, Any]:
        """How it was started: `pid`, `argv`, `env`, `token_sha256`."""
        return self._run.record

    def send(self, command: str, *, wait: bool = True) -> None:
        """Send a command (see `prx.testing.fake_cloudflared.commands`); return when it is done, or at once."""
        self._host.run(self._run.send(command, wait=wait))

    def event(self, name: str) -> dict[str, Any]:
        """Wait for its next event of this name; EOFError if the run ends before."""
        return self._host.run(self._run.event(name))

    def ended(self) -> None:
        """Wait for its end."""
        self._host.run(self._run.ended())


class FakeClient:
    """A program at `path` that behaves as cloudflared does; pass that path to what is tested."""

    def __init__(self, host: Hosted[ScriptedFake]) -> None:
        self._host = host
        self.path = host.value.path

    def next_run(self) -> FakeClientRun:
        """Wait for the next run that has not been returned yet."""
        return FakeClientRun(self._host, self._host.run(self._host.value.next_run()))

    @property
    def runs(self) -> list[dict[str, Any]]:
        """How each run until now was started."""
        return self._host.value.runs


@contextmanager
def fake_client(folder: Path, scenario: Mapping[str, Any], *, name: str = "cloudflared") -> Iterator[FakeClient]:
    """Write a fake into `folder` and follow its runs for the length of a `with`."""
    with hosted(lambda: ScriptedFake(folder, scenario, name=name), "prx fake client") as host:
        yield FakeClient(host)
