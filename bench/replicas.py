"""What visitors lose while connectors of a named tunnel are killed, restarted and reconfigured under load.

    python -m bench.replicas [--rate 200] [--seconds 60] [--every 5] [--scenes kill,restart,reload] [--transports http2,quic]

prx runs two connectors; lab, service and prx are processes of their own. Each scene lasts `--seconds`; in it one thing
is done every `--every` seconds: a connector is killed with SIGKILL, or all are restarted, or get another configuration.
PRX_TEST_CLOUDFLARED names the real program.

Exit code 1: a restart or a reload lost a request, or a kill lost one that was not on the killed connector: over HTTP/2 one that
was sent more than half a second after a kill, over QUIC, where the edge waits for a silent connector, 5.5 s after it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from bench.room import control
from bench.room.client import chosen
from bench.room.lab import running_lab
from bench.room.origin import running_origin
from bench.room.steady import Load, load
from bench.room.subject import Prx, Setup, Transport, prx

UNAWARE: Final = {"http2": 0.5, "quic": 5.5}  # seconds for which the edge may give visitors to a connector that was killed


class Scene:
    """One thing that is done to a running prx again and again; `kills` are the moments of the kills."""

    def __init__(self, subject: Prx, folder: Path) -> None:
        self.subject = subject
        self.kills: list[float] = []
        self.done = 0
        self._folder = folder

    async def kill(self) -> None:
        """Kill the connector that has run for the longest time."""
        status = await control.status(self._folder / "prx" / "data" / "run")
        alive = [item["pid"] for item in (status or {}).get("connectors", [])]
        oldest = min(alive, key=self.subject.children.index)
        self.kills.append(time.monotonic())
        os.kill(oldest, signal.SIGKILL)

    async def restart(self) -> None:
        """Restart all, as `prx restart` does."""
        await self.subject.restart()

    async def reload(self) -> None:
        """Set another grace period for all, which stands on their command line."""
        config = self._folder / "prx.toml"
        lines = [line for line in config.read_text().splitlines() if not line.startswith("grace_period_secs")]
        config.write_text("\n".join([*lines, f"grace_period_secs = {10 + self.done % 2}"]) + "\n")
        await control.ask(self._folder / "prx" / "data" / "run", "reload")

    async def repeat(self, act: Callable[[], Awaitable[None]], *, seconds: float, every: float) -> None:
        """Do it every so many seconds; it waits until the one before is over."""
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            await act()
            self.done += 1
            await self._settled()
            await asyncio.sleep(max(0.0, began + every - time.monotonic()))

    async def _settled(self) -> None:
        """Wait, half a minute at most, until prx has two connectors and nothing is about to change."""
        if self.kills:
            return
        end = time.monotonic() + 30
        await asyncio.sleep(1)
        while time.monotonic() < end:
            status = await control.status(self._folder / "prx" / "data" / "run")
            running = {item["pid"] for item in (status or {}).get("connectors", [])}
            if running == set(self.subject.children[-2:]) and len(self.subject.children) >= 2 * (self.done + 1):
                return
            await asyncio.sleep(0.25)


async def play(name: str, transport: Transport, program: str, options: argparse.Namespace) -> bool:
    """Play one scene and print what was lost; return whether that is what may be lost."""
    setup = Setup(program, "named", transport, more=("replicas = 2", "grace_period_secs = 10"))
    with tempfile.TemporaryDirectory(prefix="prx-replicas-") as temporary:
        folder = Path(temporary)
        async with (
            running_lab(folder) as lab,
            running_origin(folder) as origin,
            prx(lab, origin.port, setup, folder) as subject,
        ):
            await asyncio.sleep(5)  # until all connections are there
            scene = Scene(subject, folder)
            async with load(subject.url, options.rate) as visitors:
                await scene.repeat(getattr(scene, name), seconds=options.seconds, every=options.every)
            states = [event["new"] for event in subject.events if event["event"] == "state_changed"]
            return _tell(name, transport, scene, visitors, states)


def _tell(name: str, transport: Transport, scene: Scene, visitors: Load, states: list[str]) -> bool:
    unaware = UNAWARE[transport]
    excused = [v for v in visitors.lost if any(v.began <= kill + unaware and v.ended >= kill for kill in scene.kills)]
    lost = len(visitors.lost) - len(excused)
    seconds = sorted(visit.ended - visit.began for visit in visitors.visits)
    print(
        f"{name:8} {transport:6} {scene.done:3} times: {len(visitors.visits)} sent, {len(excused)} lost on killed connectors, "
        f"{lost} lost beside; p50 {seconds[len(seconds) // 2] * 1000:.0f} ms, p99 "
        f"{seconds[len(seconds) * 99 // 100] * 1000:.0f} ms, the bench late by {visitors.lag * 1000:.0f} ms; states {states}",
        flush=True,
    )
    return lost == 0


async def main() -> int:
    """Play all scenes, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--scenes", default="kill,restart,reload")
    parser.add_argument("--transports", default="http2,quic")
    options = parser.parse_args()
    program, _ = chosen()
    transports: tuple[Transport, ...] = tuple(item for item in ("http2", "quic") if item in options.transports.split(","))
    results = [await play(name, transport, program, options) for name in options.scenes.split(",") for transport in transports]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
