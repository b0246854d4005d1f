"""A process that runs tunnels for tests: orders come on stdin, what happens goes to stdout, both as lines of JSON.

Theory of operation. prx starts its children from the main thread alone, for their life is tied to it; a test's main thread
belongs to the test. So one process for each test run keeps all tunnels of its tests: `python -m prx.testing.tunnel_worker`. It
is prx's own supervisor, one for each tunnel, so a tunnel in a test is watched, verified and restarted as any other. When stdin
ends (the test run is over, or was killed) all tunnels are stopped and the process ends.

    in    {"do": "start", "id": 1, "name": "web", "site": {…}, "tunnel": {…}}   {"do": "restart" | "stop", "id": 1}
          {"do": "ask", "id": 1, "question": 7, "ask": {"do": "requests" | "request", …}}, as the control socket takes it
    out   {"id": 1, "event": {…}, "status": {…}}   {"id": 1, "refused": "why"}   {"id": 1, "over": CODE}
          {"id": 1, "question": 7, "answer": {"ok": true, …} | {"ok": false, "error": …}}
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prx.app.inspection import Inspection
from prx.backends.base import EdgeSite
from prx.config.checker import SchemaError, read
from prx.config.messages import explain
from prx.config.schema import Config, TunnelSettings
from prx.control.messages import refusal
from prx.core.errors import PrxError
from prx.core.events import Event
from prx.logs.redact import Redactor
from prx.runtime.bus import Bus
from prx.runtime.host.clock import SystemClock
from prx.runtime.supervisor import Supervisor
from prx.secrets.value import Secret

Json = dict[str, Any]
_LIMIT = 1024 * 1024  # bytes of one order


@dataclass(frozen=True, slots=True)
class Kept:
    """A tunnel that runs, what passes through it, and the questions about that which wait for an answer."""

    supervisor: Supervisor
    inspection: Inspection
    waiting: set[asyncio.Task[None]] = field(default_factory=set)


class Keeper:
    """The tunnels of one test run; `folder` holds their files."""

    def __init__(self, group: asyncio.TaskGroup, folder: Path) -> None:
        self._group = group
        self._folder = folder
        self._clock = SystemClock()
        self._running: dict[int, Kept] = {}

    def obey(self, order: Json) -> None:
        """Carry out one order; one about a tunnel that is over is too late and means nothing."""
        number = order["id"]
        if order["do"] == "start":
            try:
                kept = self._kept(number, order)
            except (SchemaError, PrxError) as error:
                _send(id=number, refused=_reason(error))
                return
            self._running[number] = kept
            self._group.create_task(self._run(number, kept), name=f"tunnel {number}")
        elif (running := self._running.get(number)) is None:
            return
        elif order["do"] == "ask":
            asking = self._group.create_task(self._answer(number, running, order), name=f"question {order['question']}")
            running.waiting.add(asking)
            asking.add_done_callback(running.waiting.discard)
        else:
            running.supervisor.restart() if order["do"] == "restart" else running.supervisor.stop()

    def stop(self) -> None:
        """Stop all tunnels."""
        for kept in self._running.values():
            kept.supervisor.stop()

    async def _answer(self, number: int, kept: Kept, order: Json) -> None:
        try:
            answer = {"ok": True, **await kept.inspection.answer(order["ask"])}
        except PrxError as error:
            answer = refusal(error)
        _send(id=number, question=order["question"], answer=answer)

    def _kept(self, number: int, order: Json) -> Kept:
        bus = Bus(self._clock)

        def send_event(event: Event) -> None:
            status = next((status.to_json(self._clock.wall()) for status in bus.statuses()), None)
            _send(id=number, event=event.to_json(), status=status)

        settings = read_settings(order["tunnel"])
        bus.listen(send_event)
        home = self._folder / str(number)
        home.mkdir()
        environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "PRX_DATA_DIR": str(home / "data")}
        config = Config(tunnels={order["name"]: settings})
        inspection = Inspection(self._clock, Redactor(), lambda _level, _text: None, folder=lambda: home / "caught")
        inspection.fit(config)
        supervisor = Supervisor(
            config,
            clock=self._clock,
            bus=bus,
            data_dir=home / "data",
            site=read_site(order["site"]),
            environ=environ,
            child_settings=inspection.child_settings,
            own_mark=inspection.own_mark,
        )
        return Kept(supervisor, inspection)

    async def _run(self, number: int, kept: Kept) -> None:
        code = await kept.supervisor.run()
        del self._running[number]
        for asking in kept.waiting:
            asking.cancel()
        await kept.inspection.close()
        _send(id=number, over=code)


def read_settings(written: Json) -> TunnelSettings:
    """Read the keys of `[tunnel]`; SchemaError if they are not what the schema expects."""
    cloudflare = dict(written.get("cloudflare", {}))
    cloudflare["token"] = Secret(cloudflare.get("token", ""))
    return read(TunnelSettings, {**written, "cloudflare": cloudflare})


def read_site(written: Json) -> EdgeSite:
    """Read a site as `tunnels.site_json` writes it."""
    lists = {key: tuple(value) for key, value in written.items() if isinstance(value, list)}
    return EdgeSite(**{**written, **lists, "ca_file": Path(written["ca_file"])})


def _reason(error: SchemaError | PrxError) -> str:
    if isinstance(error, PrxError):
        return error.message
    mistakes = [replace(mistake, path=("tunnel", *mistake.path)) for mistake in error.mistakes]  # as in a file
    return "; ".join(f"{'.'.join(map(str, mistake.path[1:]))}: {explain(mistake, mistake.found)}" for mistake in mistakes)


def _send(**message: Any) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the test run was killed; the end of stdin says so too, and then everything is stopped in order
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _read_orders(keeper: Keeper) -> None:
    reader = asyncio.StreamReader(limit=_LIMIT)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            keeper.obey(json.loads(line))
    finally:
        transport.close()


async def main() -> None:
    """Keep tunnels until stdin ends."""
    with tempfile.TemporaryDirectory(prefix="prx-tests-") as folder:
        async with asyncio.TaskGroup() as group:
            keeper = Keeper(group, Path(folder))
            await _read_orders(keeper)
            keeper.stop()


if __name__ == "__main__":
    asyncio.run(main())
