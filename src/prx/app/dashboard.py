"""The dashboard as a child of `prx start`: started if `[web] listen` is set, started again with backoff when it ends.

Nothing waits for it. It gets the password through a pipe, and no other secret: its environment holds only what tells it where
the files of prx are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Final

from prx.config.schema import WebSettings
from prx.core.backoff import RESTART, steady_after
from prx.core.errors import PrxError
from prx.core.launch import SECRET_PATH, Launch
from prx.logs.text import decode
from prx.runtime.host.clock import Clock
from prx.runtime.process.child import ChildProcess
from prx.runtime.process.spawn import SpawnError

_STOP_SECONDS: Final = 3.0
_VARIABLES: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PRX_DATA_DIR", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "PYTHONPATH")

Log = Callable[[str, str], None]


class DashboardChild:
    """Keep a dashboard running as `settings()` says, which is asked at each start; `log(level, message)` publishes a line."""

    def __init__(self, settings: Callable[[], WebSettings], environ: Mapping[str, str], clock: Clock, log: Log) -> None:
        self._settings = settings
        self._environ = {name: environ[name] for name in _VARIABLES if name in environ}
        self._clock = clock
        self._log = log
        self._changed = asyncio.Event()
        self._last = ""
        self._up = False

    def check_settings(self) -> None:
        """Start the child again if the settings have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Run until cancelled."""
        attempt = 0
        while True:
            self._changed.clear()
            settings = self._settings()
            if not settings.listen:
                await self._changed.wait()
                continue
            began = self._clock.monotonic()
            ended = await self._one_life(settings)
            if not ended:  # the settings have changed
                attempt = 0
                continue
            delay = RESTART.delay(attempt) if attempt else 0.0
            attempt = 1 if self._clock.monotonic() - began > steady_after(delay) else attempt + 1
            await self._pause(RESTART.delay(attempt), ended)

    async def _one_life(self, settings: WebSettings) -> str:
        """Run the child once; return how it ended, or "" if the settings changed and it was stopped."""
        self._last, self._up = "", False
        try:
            process = await ChildProcess.spawn(self._launch(settings), on_line=self._on_line)
        except (SpawnError, OSError) as error:
            return error.message if isinstance(error, PrxError) else str(error)
        try:
            waiting = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                end = group.create_task(_notify(process.wait, waiting), name="dashboard")
                change = group.create_task(_notify(self._until_changed, waiting), name="settings of the dashboard")
                await waiting.wait()
                ended = end.done() and not end.cancelled()
                for task in (end, change):
                    task.cancel()
            return (self._last or "it ended") if ended else ""
        finally:
            await self._end(process)

    async def _until_changed(self) -> None:
        """Wait until the settings are others than those that the child runs with."""
        with_these = self._settings()
        while self._settings() == with_these:
            self._changed.clear()
            await self._changed.wait()

    async def _end(self, process: ChildProcess) -> None:
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
        await process.aclose()

    async def _pause(self, seconds: float, why: str) -> None:
        self._log("warn", f"the dashboard has ended and is started again in {seconds:.0f} s: {why}")
        woken = self._clock.call_later(seconds, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            woken.cancel()

    def _launch(self, settings: WebSettings) -> Launch:
        argv = (sys.executable, "-m", "prx", "web", "--child", "--listen", settings.listen, "--names", ",".join(settings.hosts))
        secret = settings.password.reveal().encode()
        return Launch((*argv, "--password-file", SECRET_PATH) if secret else argv, self._environ, secret or None)

    def _on_line(self, stream: str, line: bytes) -> None:
        text = decode(line)
        if stream == "stdout" and not self._up:
            self._up = True
            self._log("info", f"dashboard: {text} (a link into it: prx web --url)")
        elif text.strip() and not text.startswith("hint:"):
            self._last = text.removeprefix("error: ")


async def _notify(work: Callable[[], object], done: asyncio.Event) -> None:
    try:
        await work()  # type: ignore[misc]  # both return awaitables
    finally:
        done.set()
