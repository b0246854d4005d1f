"""A scripted prx for a control server to speak for, and two ways to ask it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prx.app.holders import FreeHold
from prx.control.client import Client
from prx.control.messages import Message
from prx.core.events import Fact, StateChanged, UrlChanged
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.story import story
from prx.runtime.bus import Bus, Subscription
from prx.runtime.host.clock import SystemClock


class ScriptedPrx:
    """What a control server speaks for: a bus, and a list of what was asked."""

    def __init__(self, *names: str) -> None:
        self.bus = Bus(SystemClock())
        self.asked: list[tuple[str, str | None]] = []
        self.problem: Exception | None = None
        self.subscribed, self.stopped = asyncio.Event(), asyncio.Event()
        self.on_stop: Callable[[str | None], None] = lambda _: None
        for name in names or ("web",):
            self.bus.track(TunnelStatus(name, state=State.STARTING, local_addr="127.0.0.1:8080", mode="named"))

    def about(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "tunnels": []}

    def statuses(self) -> tuple[TunnelStatus, ...]:
        return self.bus.statuses()

    def stories(self, name: str | None = None) -> list[dict[str, Any]]:
        return [story(status, 1_000.0) for status in self.statuses() if name in {None, status.name}]

    def subscribe(self) -> Subscription:
        self.subscribed.set()
        return self.bus.subscribe(limit=4)

    def stop(self, name: str | None = None) -> None:
        self.asked.append(("stop", name))
        self.stopped.set()
        self.on_stop(name)

    def restart(self, name: str | None = None) -> None:
        self.asked.append(("restart", name))

    def hold(self, *, keep: float, also: Sequence[int]) -> FreeHold:
        self.asked.append((f"hold {keep:g} {list(also)}", None))
        return FreeHold()

    async def traffic(self, request: Message) -> Message:
        """Answer what is asked of inspected traffic; fall over a field of a kind that it does not expect."""
        dict(request.get("positions", 5))
        return {"asked": request["do"]}

    async def reload(self) -> list[str]:
        self.asked.append(("reload", None))
        if self.problem is not None:
            raise self.problem
        return []

    def become(self, name: str, state: str, url: str = "") -> None:
        facts: list[Fact] = [UrlChanged(tunnel=name, url=url, old="")] if url else []
        for fact in [*facts, StateChanged(tunnel=name, old=State.IDLE, new=State(state), reason="so it goes")]:
            self.bus.publish(fact)


async def ask(path: Path, do: str, **arguments: Any) -> dict[str, Any]:
    """Ask in a thread, as the client is synchronous."""

    def talk() -> dict[str, Any]:
        with Client(path) as client:
            return client.ask(do, **arguments)

    return await asyncio.to_thread(talk)


async def raw(path: Path, data: bytes) -> dict[str, Any]:
    """Send bytes, and return the first line of the answer."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    answer: dict[str, Any] = json.loads(await asyncio.wait_for(reader.readline(), 10))
    writer.close()
    with suppress(ConnectionError):  # it need not have taken all
        await writer.wait_closed()
    return answer
