"""A real `prx` as a user runs it, and its events as a script reads them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]
PRX = str(Path(sys.executable).with_name("prx"))


class PrxProcess:
    """One `prx start --json …`; `events` holds everything that it has published so far."""

    def __init__(self, process: asyncio.subprocess.Process, environ: Mapping[str, str]) -> None:
        self.process = process
        self.environ = environ
        self.events: list[Json] = []
        self.talk: list[str] = []
        self._news = asyncio.Condition()
        self._over = False

    async def read_events(self) -> None:
        """Collect stdout until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._news:
                self.events.append(json.loads(line))
                self._news.notify_all()
        async with self._news:
            self._over = True
            self._news.notify_all()

    async def read_talk(self) -> None:
        """Collect stderr until it ends."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.talk.append(line.decode())

    async def event(self, name: str, *, after: int = 0, within: float = 30, **fields: object) -> Json:
        """Wait for an event of this name with these fields and a `seq` above `after`."""

        def fits(event: Json) -> bool:
            wanted = {"event": name, **fields}
            return event["seq"] > after and all(event.get(key) == value for key, value in wanted.items())

        return await self.first(fits, f"{name} {fields}", within=within)

    async def first(self, fits: Callable[[Json], bool], what: str, *, within: float = 30) -> Json:
        """Wait for the first event that fits, past ones included."""
        try:
            async with asyncio.timeout(within), self._news:
                while True:
                    for event in self.events:
                        if fits(event):
                            return event
                    if self._over:
                        raise AssertionError(f"prx ended without {what}\n{self.story()}")
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {what} within {within} s\n{self.story()}") from None

    async def url(self, **fields: Any) -> str:
        """Wait for a verified URL."""
        event = await self.event("url_changed", **fields)
        return str(event["url"])

    def story(self) -> str:
        """Return what happened, for the message of a failed test."""
        lines = [json.dumps(event) for event in self.events[-60:]]
        return "\n".join([*lines, "--- stderr", *self.talk[-40:]])

    async def stop(self, number: int = signal.SIGINT, *, within: float = 40) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(within):
            return await self.process.wait()

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
    process = await asyncio.create_subprocess_exec(
        PRX,
        *arguments,
        env=dict(environ),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(within):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def prx_start(*arguments: str, environ: Mapping[str, str], cwd: Path) -> AsyncIterator[PrxProcess]:
    """Run `prx start --json …`; at the end it is stopped if it still runs, and must leave nothing behind."""
    process = await asyncio.create_subprocess_exec(
        PRX,
        "start",
        "--json",
        *arguments,
        env=dict(environ),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=16 * 1024 * 1024,
    )
    prx = PrxProcess(process, environ)
    async with asyncio.TaskGroup() as readers:
        readers.create_task(prx.read_events(), name="events")
        readers.create_task(prx.read_talk(), name="talk")
        try:
            yield prx
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


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
