"""A real `prx` as a user runs it, and its events as a script reads them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from tests.support.child import Child, run, running

Json = dict[str, Any]
PRX = str(Path(sys.executable).with_name("prx"))


class PrxProcess(Child):
    """One `prx start --json …`; `events` holds everything that it has published so far, `lines` what it said on stderr."""

    def __init__(self, process: asyncio.subprocess.Process, environ: Mapping[str, str]) -> None:
        super().__init__(process)
        self.environ = environ
        self.events: list[Json] = []

    def take(self, stream: str, line: bytes) -> None:
        """Keep an event, or a line."""
        if stream == "stdout":
            self.events.append(json.loads(line))
        super().take(stream, line)

    async def event(self, name: str, *, after: int = 0, within: float = 30, **fields: object) -> Json:
        """Wait for an event of this name with these fields and a `seq` above `after`."""

        def fits(event: Json) -> bool:
            wanted = {"event": name, **fields}
            return event["seq"] > after and all(event.get(key) == value for key, value in wanted.items())

        return await self.first(fits, f"{name} {fields}", within=within)

    async def first(self, fits: Callable[[Json], bool], what: str, *, within: float = 30) -> Json:
        """Wait for the first event that fits, past ones included."""
        return await self.wait(lambda: next(filter(fits, self.events), None), what, within=within)

    async def url(self, **fields: Any) -> str:
        """Wait for a verified URL."""
        event = await self.event("url_changed", **fields)
        return str(event["url"])

    def story(self) -> str:
        """Return what happened, for the message of a failed test."""
        lines = [json.dumps(event) for event in self.events[-60:]]
        return "\n".join([*lines, "--- stderr", *self.lines[-40:]])

    async def stop(self, number: int = signal.SIGINT, *, within: float = 40) -> int:
        """Send a signal and return the exit code."""
        return await super().stop(number, within=within)

    async def ask(self, *arguments: str) -> tuple[int, str, str]:
        """Run another prx command beside this one: exit code, stdout, stderr."""
        return await run_prx(*arguments, environ=self.environ)


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing of this machine's user shows."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PRX_DATA_DIR": str(home / "data"), "LANG": "C.UTF-8", **more}


async def run_prx(
    *arguments: str, environ: Mapping[str, str], cwd: Path | None = None, within: float = 40
) -> tuple[int, str, str]:
    """Run a prx command to its end: exit code, stdout, stderr."""
    done = await run([PRX, *arguments], env=environ, cwd=cwd, within=within)
    return done.code, done.out, done.err


def started(
    argv: Sequence[str], *, environ: Mapping[str, str], cwd: Path, **more: Any
) -> AbstractAsyncContextManager[PrxProcess]:
    """Run `argv`, which ends in a `prx start --json …`; at the end of the block it is killed if it still runs."""
    return running(argv, lambda process: PrxProcess(process, environ), env=environ, cwd=cwd, **more)


def prx_start(*arguments: str, environ: Mapping[str, str], cwd: Path) -> AbstractAsyncContextManager[PrxProcess]:
    """Run `prx start --json …`; at the end of the block it is killed if it still runs."""
    return started([PRX, "start", "--json", *arguments], environ=environ, cwd=cwd)


def live_pids(needle: str) -> list[int]:
    """List the processes (no zombies) whose command line holds `needle`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if needle in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found
