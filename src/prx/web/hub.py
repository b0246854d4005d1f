"""What the dashboard knows: every prx of this user, its tunnels as they stand now, and the last events.

Theory of operation. A search finds the control sockets in the runtime folder. Each gets a task of its own, which follows the
events of that prx on one connection and asks for its status on another: at once when an event may have changed it, but at
most every `ASK_PAUSE` seconds, and every `ASK_EVERY` seconds anyway. Nothing is computed here that prx knows itself. When a prx
ends its last status stays, marked as gone, for `GONE_SECONDS`, of the last `MOST_GONE`; one that comes back under the same key
takes its place, and the page says that it was started again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from prx.control.instance import sockets
from prx.control.messages import Message
from prx.core.errors import PrxError, UsageError, refused
from prx.core.events import timestamp
from prx.core.shortage import lack_of
from prx.web.link import ANSWER_SECONDS, Link, SilentError, linked
from prx.web.ring import Ring

SEARCH_EVERY: Final = 2.0
ASK_PAUSE: Final = 0.3
ASK_EVERY: Final = 10.0
GONE_SECONDS: Final = 24 * 3600.0
MOST_PRX: Final = 64
MOST_GONE: Final = 64  # a machine that runs tests starts hundreds a day, each on another port
ACTION_SECONDS: Final = 200.0  # a stop waits for the requests in flight, three minutes at most

_QUIET: Final = frozenset({"log", "phase", "hook", "dropped"})  # these change no status


@dataclass(frozen=True, slots=True)
class Seen:
    """One prx as it was seen last. Times are seconds since 1970.

    key: the name of its socket, which stays the same over restarts. gone_at: since when it does not answer; None if it does.
    silent: it is there and does not answer, so that nothing is known of it. restarted_at: when another process took its place,
    None if that was not seen.
    """

    key: str
    path: Path
    about: Message = field(default_factory=dict)
    tunnels: tuple[Message, ...] = ()
    asked_at: float = 0.0
    gone_at: float | None = None
    silent: bool = False
    restarted_at: float | None = None
    gone_since: float | None = None  # the same as `gone_at`, on the steady clock

    @property
    def pid(self) -> int:
        """Return its process id, 0 if it is not known."""
        pid = self.about.get("pid")
        return pid if isinstance(pid, int) else 0

    @property
    def log(self) -> str:
        """Return the path of its log file, empty if it is not known."""
        return str(self.about.get("log", ""))

    @property
    def config(self) -> str:
        """Return the path of its configuration file, empty if it has none."""
        return str(self.about.get("config", ""))


def _lacks_room(error: BaseException) -> bool:
    """Return whether this machine had no room to ask, which says nothing of the prx that was to be asked."""
    return lack_of(error) is not None


class Hub:
    """Follow every prx whose socket is in `folder`. `wall` and `steady`: see `Settings`."""

    def __init__(self, folder: Path, *, wall: Callable[[], float], steady: Callable[[], float], life: str) -> None:
        self.ring = Ring(life)
        self.wall, self.steady = wall, steady
        self._folder = folder
        self._seen: dict[str, Seen] = {}
        self._changed = asyncio.Event()
        self._following: dict[str, asyncio.Task[None]] = {}

    @property
    def seen(self) -> list[Seen]:
        """Return every prx, those that are gone last."""
        return sorted(self._seen.values(), key=lambda item: (item.gone_at is not None, item.key))

    async def run(self) -> None:
        """Search and follow until cancelled; a search that this machine has no room for is made again later."""
        async with asyncio.TaskGroup() as group:
            while True:
                with suppress(OSError, RuntimeError, MemoryError):
                    await self.search(group)
                await asyncio.sleep(SEARCH_EVERY)

    async def search(self, group: asyncio.TaskGroup) -> None:
        """Look for control sockets once, and begin to follow what is new in `group`.

        OSError if the folder cannot be read, RuntimeError or MemoryError if there is no thread for it.
        """
        found = await asyncio.to_thread(sockets, self._folder)
        self._following = {key: task for key, task in self._following.items() if not task.done()}
        for path in found[:MOST_PRX]:
            if path.stem not in self._following:
                self._following[path.stem] = group.create_task(self._follow(path), name=f"prx {path.stem}")
        now = self.steady()
        gone = sorted((item.gone_since, key) for key, item in self._seen.items() if item.gone_since is not None)
        for number, (since, key) in enumerate(reversed(gone)):
            if now - since > GONE_SECONDS or number >= MOST_GONE:
                del self._seen[key]

    async def until(self, fits: Callable[[], bool]) -> None:
        """Wait until `fits()`, checking whenever something changes."""
        while not fits():
            self._changed.clear()
            await self._changed.wait()

    # ------------------------------------------------------------------ one prx

    async def _follow(self, path: Path) -> None:
        """Follow one prx until it is gone."""
        silent = False
        try:
            async with linked(path) as asking, linked(path) as listening:
                await self._come(path, asking)
                stale = asyncio.Event()
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._keep_asking(path.stem, asking, stale), name=f"status of {path.stem}")
                    async for event in listening.events():
                        self._take(path.stem, event, stale)
        except* SilentError:
            silent = True
        except* (OSError, MemoryError) as errors:
            silent = silent or (path.stem in self._seen and errors.subgroup(_lacks_room) is not None)
        except* PrxError:
            pass
        self._go(path, silent=silent)

    async def _come(self, path: Path, asking: Link) -> None:
        about = await asking.ask("ping")
        before = self._seen.get(path.stem)
        seen = Seen(path.stem, path, about)
        if before is not None and before.pid != seen.pid:
            seen = replace(seen, restarted_at=self.wall())
        elif before is not None:
            seen = replace(seen, restarted_at=before.restarted_at)
        self._seen[path.stem] = await self._with_status(seen, asking)
        self._emit(path.stem, "prx_found", pid=seen.pid)

    async def _keep_asking(self, key: str, asking: Link, stale: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY):
                    await stale.wait()
            stale.clear()
            before = self._seen[key]
            after = await self._with_status(before, asking)
            self._seen[key] = after
            self._changed.set()
            await asyncio.sleep(ASK_PAUSE)

    async def _with_status(self, seen: Seen, asking: Link) -> Seen:
        answer = await asking.ask("status")
        tunnels = answer.get("tunnels")
        found = tuple(item for item in tunnels if isinstance(item, dict)) if isinstance(tunnels, list) else ()
        return replace(seen, tunnels=found, asked_at=self.wall(), gone_at=None, gone_since=None, silent=False)

    def _take(self, key: str, event: Message, stale: asyncio.Event) -> None:
        self.ring.publish({"prx": key, **event})
        if event.get("event") not in _QUIET:
            stale.set()
        self._changed.set()

    def _go(self, path: Path, *, silent: bool) -> None:
        before = self._seen.get(path.stem)
        if before is None and not silent:  # a killed prx left its socket behind
            return
        before = before or Seen(path.stem, path)
        if before.gone_at is None or before.silent != silent:
            since = self.steady() if before.gone_since is None else before.gone_since
            self._seen[path.stem] = replace(before, gone_at=before.gone_at or self.wall(), gone_since=since, silent=silent)
            self._emit(path.stem, "prx_silent" if silent else "prx_gone", pid=before.pid)

    def _emit(self, key: str, name: str, **fields: Any) -> None:
        self.ring.publish({"prx": key, "at": timestamp(self.wall()), "tunnel": "", "event": name, **fields})
        self._changed.set()

    # ------------------------------------------------------------------ what is asked of a prx

    def find(self, key: str | None, tunnel: str | None) -> Seen:
        """Return the one running prx with `key`, or with `tunnel`; UsageError if that is none, or several."""
        running = [item for item in self.seen if item.gone_at is None]
        found = [item for item in running if key in {None, item.key}]
        if tunnel is not None:
            found = [item for item in found if any(one.get("name") == tunnel for one in item.tunnels)]
        if len(found) == 1:
            return found[0]
        what = f"a tunnel {tunnel[:80]!r}" if tunnel is not None else "a prx"
        if not found:
            raise UsageError(f"there is no {what[2:]}" + (f" in prx {key[:80]!r}" if key else ""))
        raise UsageError(f"{len(found)} prx have {what}: {', '.join(item.key for item in found)}", hint="choose one with ?prx=")

    def tunnel(self, key: str, name: str) -> tuple[Seen, Message] | None:
        """Return a tunnel and its prx, which may be gone; None if there is none."""
        pairs = ((item, one) for item in self.seen if item.key == key for one in item.tunnels)
        return next((pair for pair in pairs if pair[1].get("name") == name), None)

    async def act(self, seen: Seen, do: str, tunnel: str | None = None) -> None:
        """Have a prx do something; PrxError if it refuses, or does not answer."""
        await self.ask(seen, do, timeout=ACTION_SECONDS, **({} if tunnel is None else {"tunnel": tunnel}))

    async def ask(self, seen: Seen, do: str, *, timeout: float = ANSWER_SECONDS, **arguments: Any) -> Message:
        """Return a prx's answer to a request of the control socket; PrxError if it refuses, or does not answer."""
        try:
            async with linked(seen.path) as link:
                return await link.ask(do, timeout=timeout, **arguments)
        except OSError as error:
            raise refused(f"prx cannot be asked: {error}", error, kind=PrxError) from error
