"""The dashboard as a child of `prx start`: started if `[web] listen` is set, started again with backoff when it ends.

A failure that no further try can change (an extra that is not installed, a port that this user may not use, a damaged key)
is reported once, with what helps, and shown in `prx status`; only a reload tries again. One that may pass, such as a port in
use, is tried again without end, and reported once as well, until it is another one.

Nothing waits for it. It gets the password through a pipe, and no other secret: its environment holds only what tells it where
the files of prx are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from prx.config.schema import WebSettings
from prx.core.backoff import RESTART, steady_after
from prx.core.errors import PermanentError, PrxError, UsageError, with_hint
from prx.core.exit_status import ExitStatus
from prx.core.launch import SECRET_PATH, Launch
from prx.core.value import Value, value_class
from prx.logs.text import decode
from prx.runtime.host.clock import Clock
from prx.runtime.process.child import ChildProcess
from prx.runtime.process.spawn import SpawnError

_STOP_SECONDS: Final = 3.0
_VARIABLES: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PRX_DATA_DIR", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "PYTHONPATH")

_PERMANENT: Final = frozenset({UsageError.exit_code, PermanentError.exit_code})

Log = Callable[[str, str], None]


@value_class(frozen=True, slots=True, eq=False, repr=False)
class _End(Value):
    """How one run of the child ended; `permanent`: another try cannot help without a change from outside."""

    why: str
    hint: str = ""
    permanent: bool = False

    @classmethod
    def of(cls, error: PrxError | OSError) -> _End:
        """Return the end of a child that could not be started."""
        if isinstance(error, PrxError):
            return cls(error.message, error.hint, getattr(error, "permanent", False))
        return cls(error.strerror or str(error))


class DashboardChild:
    """Keep a dashboard running as `settings()` says, which is asked at each start; `log(level, message)` publishes a line."""

    def __init__(self, settings: Callable[[], WebSettings], environ: Mapping[str, str], clock: Clock, log: Log) -> None:
        self._settings = settings
        self._environ = {name: environ[name] for name in _VARIABLES if name in environ}
        self._clock = clock
        self._log = log
        self._changed = asyncio.Event()
        self._last = self._hint = self._said = ""
        self._up = False
        self._ended: _End | None = None

    def about(self) -> dict[str, Any] | None:
        """Return what `prx status` shows: `listen`, `state`, `reason` and `hint`; None if no dashboard is wanted.

        `state` is `up`, `starting`, `backoff` (it will be tried again), or `failed` (it will not).
        """
        listen = self._settings().listen
        if not listen:
            return None
        ended = self._ended
        if ended is None:
            return {"listen": listen, "state": "up" if self._up else "starting", "reason": "", "hint": ""}
        return {"listen": listen, "state": "failed" if ended.permanent else "backoff", "reason": ended.why, "hint": ended.hint}

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
            self._ended = await self._one_life(settings)
            if self._ended is None:  # the settings have changed
                attempt = 0
                continue
            if self._ended.permanent:
                attempt = 0
                await self._until_asked(self._ended)
                continue
            delay = RESTART.delay(attempt) if attempt else 0.0
            attempt = 1 if self._clock.monotonic() - began > steady_after(delay) else attempt + 1
            await self._pause(RESTART.delay(attempt), self._ended)

    async def _one_life(self, settings: WebSettings) -> _End | None:
        """Run the child once; return how it ended, or None if the settings changed and it was stopped."""
        self._last, self._hint, self._up = "", "", False
        try:
            process = await ChildProcess.spawn(self._launch(settings), on_line=self._on_line)
        except (SpawnError, OSError) as error:
            return _End.of(error)
        self._ended = None
        try:
            waiting = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                end = group.create_task(_notify(process.wait, waiting), name="dashboard")
                change = group.create_task(
                    _notify(partial(self._until_changed, settings), waiting), name="settings of the dashboard"
                )
                await waiting.wait()
                ended = end.done() and not end.cancelled()
                for task in (end, change):
                    task.cancel()
            return self._how(await process.wait()) if ended else None
        finally:
            await self._end(process)

    def _how(self, end: ExitStatus) -> _End:
        return _End(self._last or "it ended", self._hint, permanent=end.code in _PERMANENT)

    async def _until_changed(self, settings: WebSettings) -> None:
        """Wait until the settings are others than those that the child runs with."""
        while self._settings() == settings:
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

    async def _until_asked(self, end: _End) -> None:
        """Report an end that is for good, and wait for a reload."""
        helps = f"{end.hint}, then run `prx reload`" if end.hint else "`prx reload` tries again"
        self._log("error", with_hint(f"the dashboard cannot run: {end.why}", helps))
        await self._changed.wait()

    async def _pause(self, seconds: float, end: _End) -> None:
        again, self._said = end.why == self._said, end.why
        words = f"the dashboard has ended and is started again in {seconds:.0f} s: {end.why}"
        self._log("debug" if again else "warn", with_hint(words, end.hint))
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
            self._up, self._said = True, ""
            self._log("info", f"dashboard: {text} (a link into it: prx web --url)")
        elif text.startswith("hint: "):
            self._hint = text.removeprefix("hint: ")
        elif text.strip():
            self._last = text.removeprefix("error: ")


async def _notify(work: Callable[[], Awaitable[object]], done: asyncio.Event) -> None:
    try:
        await work()
    finally:
        done.set()
