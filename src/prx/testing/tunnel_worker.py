"""A process that runs tunnels for tests: orders come on stdin, what happens goes to stdout, both as lines of JSON.

Theory of operation. prx starts its children from the main thread alone, for their life is tied to it; a test's main thread
belongs to the test. So one process for each test run keeps all tunnels of its tests: `python -m prx.testing.tunnel_worker`. It
is prx's own supervisor, one for each tunnel, so a tunnel in a test is watched, verified and restarted as any other. When stdin
ends (the test run is over, or was killed) all tunnels are stopped and the process ends.

    in    {"do": "start", "id": 1, "name": "web", "site": {…}, "tunnel": {…}}   {"do": "restart" | "stop", "id": 1}
    out   {"id": 1, "event": {…}, "status": {…}}   {"id": 1, "refused": "why"}   {"id": 1, "over": CODE}
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from prx.backends.base import EdgeSite
from prx.config.checker import SchemaError, read
from prx.config.messages import explain
from prx.config.schema import Config, TunnelSettings
from prx.core.errors import PrxError
from prx.core.events import Event
from prx.runtime.bus import Bus
from prx.runtime.host.clock import SystemClock
from prx.runtime.supervisor import Supervisor
from prx.secrets.value import Secret

Json = dict[str, Any]
_LIMIT = 1024 * 1024  # bytes of one order


class Keeper:
    """The tunnels of one test run; `folder` holds their files."""

    def __init__(self, group: asyncio.TaskGroup, folder: Path) -> None:
        self._group = group
        self._folder = folder
        self._clock = SystemClock()
        self._running: dict[int, Supervisor] = {}

    def obey(self, order: Json) -> None:
        """Carry out one order; one about a tunnel that is over is too late and means nothing."""
        number = order["id"]
        if order["do"] == "start":
            try:
                supervisor = self._supervisor(number, order)
            except (SchemaError, PrxError) as error:
                _say(id=number, refused=_reason(error))
                return
            self._running[number] = supervisor
            self._group.create_task(self._run(number, supervisor), name=f"tunnel {number}")
        elif (running := self._running.get(number)) is not None:
            running.restart() if order["do"] == "restart" else running.stop()

    def stop(self) -> None:
        """Stop all tunnels."""
        for supervisor in self._running.values():
            supervisor.stop()

    def _supervisor(self, number: int, order: Json) -> Supervisor:
        bus = Bus(self._clock)

        def tell(event: Event) -> None:
            status = next((status.to_json(self._clock.wall()) for status in bus.statuses()), None)
            _say(id=number, event=event.to_json(), status=status)

        settings = read_settings(order["tunnel"])
        bus.listen(tell)
        home = self._folder / str(number)
        home.mkdir()
        environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "PRX_DATA_DIR": str(home / "data")}
        config = Config(tunnels={order["name"]: settings})
        return Supervisor(
            config, clock=self._clock, bus=bus, data_dir=home / "data", site=read_site(order["site"]), environ=environ
        )

    async def _run(self, number: int, supervisor: Supervisor) -> None:
        code = await supervisor.run()
        del self._running[number]
        _say(id=number, over=code)


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


def _say(**message: Any) -> None:
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
