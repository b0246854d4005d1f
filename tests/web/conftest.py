"""A dashboard with real parts: a control server on a unix socket for each scripted prx, and a real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.waits import PATIENCE

from prx.control.server import ControlServer
from prx.core.errors import PrxError, UsageError
from prx.core.events import Fact, StateChanged, VerdictChanged
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.story import story
from prx.core.verdicts import Verdict
from prx.runtime.bus import Bus, Subscription
from prx.runtime.host.clock import SystemClock
from prx.secrets.value import Secret
from prx.web.address import Listen
from prx.web.server import Dashboard, Settings, listen_on

KEY = b"k" * 32


class ScriptedPrx:
    """What a control server speaks for: a bus, what `ping` answers, and a list of what was asked."""

    def __init__(self, pid: int = 4711, log: str = "", config: str = "") -> None:
        self.bus = Bus(SystemClock())
        self.asked: list[tuple[str, str | None]] = []
        self.problem: PrxError | None = None
        self.pid, self.log, self.config = pid, log, config

    def track(self, name: str = "web", **fields: Any) -> None:
        """Have a tunnel, in any standing."""
        given = {"local_addr": "127.0.0.1:8080", "mode": "quick", "backend": "cloudflare", **fields}
        self.bus.track(TunnelStatus(name, **given))

    def publish(self, *facts: Fact) -> None:
        """Publish facts."""
        for fact in facts:
            self.bus.publish(fact)

    def become(self, name: str, state: State, verdict: Verdict, reason: str = "", hint: str = "") -> None:
        """Change the state and the verdict of a tunnel."""
        self.publish(
            VerdictChanged(tunnel=name, old="", new=verdict, reason=reason, hint=hint),
            StateChanged(tunnel=name, old=State.STARTING, new=state, reason=reason),
        )

    def about(self) -> dict[str, Any]:
        tunnels = [{"name": item.name, "local_addr": item.local_addr} for item in self.bus.statuses()]
        return {"pid": self.pid, "version": "0.1.0", "config": self.config, "log": self.log, "tunnels": tunnels}

    def stories(self, name: str | None = None) -> list[dict[str, Any]]:
        wall = self.bus._clock.wall()
        return [story(status, wall) for status in self.statuses() if name in {None, status.name}]

    def statuses(self) -> tuple[TunnelStatus, ...]:
        return self.bus.statuses()

    def hold(self, *, keep: float, also: Sequence[int]) -> Any:
        raise NotImplementedError

    def subscribe(self) -> Subscription:
        return self.bus.subscribe()

    def stop(self, name: str | None = None) -> None:
        self.asked.append(("stop", name))
        if name is not None:
            self.publish(StateChanged(tunnel=name, old=State.READY, new=State.IDLE, reason="stopped by the operator"))

    def restart(self, name: str | None = None) -> None:
        self.asked.append(("restart", name))

    async def traffic(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer what is asked of inspected traffic: it is not inspected."""
        raise UsageError("what passes is not inspected", hint="start it with: prx start --inspect", code="inspection_off")

    async def reload(self) -> list[str]:
        self.asked.append(("reload", None))
        if self.problem is not None:
            raise self.problem
        return []


@dataclass
class Scene:
    """One dashboard that serves, and the prx that it shows."""

    folder: Path
    dashboard: Dashboard
    listen: Listen
    stack: AsyncExitStack = field(repr=False)

    @property
    def url(self) -> str:
        """Return the URL without its slash."""
        return self.listen.url.rstrip("/")

    @property
    def bearer(self) -> dict[str, str]:
        """Return the header of a script."""
        return {"authorization": f"Bearer {self.dashboard.keys.bearer()}"}

    @property
    def action(self) -> dict[str, str]:
        """Return the headers of a script that does something."""
        return {**self.bearer, "x-prx-action": "1"}

    async def start(self, key: str, prx: ScriptedPrx) -> ControlServer:
        """Run a control server for `prx` until the scene ends, and wait until the dashboard has seen it."""
        server = await self.stack.enter_async_context(serving(self.folder, key, prx))
        await self.until(lambda: any(seen.key == key and seen.gone_at is None for seen in self.dashboard.hub.seen))
        return server

    async def until(self, fits: Any) -> None:
        """Wait until the dashboard knows it."""
        async with asyncio.timeout(PATIENCE):
            await self.dashboard.hub.until(fits)

    async def ask(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """Ask the dashboard as a script does; `headers` in place of those of a script."""
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            given = self.bearer if headers is None else dict(headers)
            return await client.request(method, self.url + path, headers=given, **more)


def serving(folder: Path, key: str, prx: ScriptedPrx) -> ControlServer:
    """Return a control server for `prx`, to be used with `async with`."""
    return ControlServer(folder / f"{key}.sock", prx, wall=prx.bus._clock.wall)


@asynccontextmanager
async def scene(
    folder: Path, *, password: str = "", names: tuple[str, ...] = (), host: str = "127.0.0.1", **more: Any
) -> AsyncIterator[Scene]:
    """Run a dashboard over the control sockets in `folder`."""
    folder.mkdir(exist_ok=True)
    listening = listen_on(Listen(host, 0))
    listen = Listen(host, listening.getsockname()[1], frozenset(names))
    wall, steady = more.pop("wall", SystemClock().wall), more.pop("steady", SystemClock().monotonic)
    settings = Settings(listen, KEY, folder, folder / "history", wall, Secret(password), *more.pop("doctor", ()))
    settings = replace(settings, steady=steady)
    dashboard = Dashboard(settings, **more)
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        serving_task = group.create_task(dashboard.serve(listening, ready.set))
        async with AsyncExitStack() as stack:
            await ready.wait()
            yield Scene(folder, dashboard, listen, stack)
        dashboard.stop()
        await serving_task


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Scene]:
    """Run a dashboard that sees no prx yet."""
    async with scene(tmp_path / "run") as running:
        yield running
