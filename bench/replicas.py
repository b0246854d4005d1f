"""What visitors lose while connectors of a named tunnel are killed, restarted, reconfigured and upgraded under load.

    python -m bench.replicas [--rate 200] [--seconds 60] [--every 5] [--scenes kill,restart,reload,rotate,upgrade]
                             [--transports http2,quic]

prx runs two connectors; lab, service and prx are processes of their own. Each scene lasts `--seconds`; in it one thing
is done every `--every` seconds, and no sooner than the one before is over: a connector is killed with SIGKILL, or all are
restarted, get another configuration or another token, or their program is replaced. PRX_TEST_CLOUDFLARED names the real
program.

Exit code 1: a change lost a request or was not carried out, or a kill lost a request that was not on the killed connector: over
HTTP/2 one that was sent more than half a second after a kill, over QUIC, where the edge waits for a silent connector, 5.5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench.room import control
from bench.room.client import BUILTIN, chosen
from bench.room.lab import RunningLab, running_lab
from bench.room.origin import running_origin
from bench.room.steady import Load, load
from bench.room.subject import Prx, Setup, Transport, prx

SCENES: Final = ("kill", "restart", "reload", "rotate", "upgrade")
UNAWARE: Final = {"http2": 0.5, "quic": 5.5}  # seconds for which the edge may give visitors to a connector that was killed
_SETTLED_WITHIN: Final = 30.0  # seconds


class Scene:
    """One thing that is done to a running prx again and again; `kills` are the moments of the kills."""

    def __init__(self, subject: Prx, lab: RunningLab, folder: Path) -> None:
        self.subject = subject
        self.kills: list[float] = []
        self.done = 0
        self.unsettled = 0  # changes that were not carried out in time
        self._lab = lab
        self._folder = folder

    async def kill(self) -> None:
        """Kill the connector that has run for the longest time."""
        for pid in self.subject.children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills.append(time.monotonic())
                return

    async def restart(self) -> None:
        """Restart all, as `prx restart` does."""
        await self.subject.restart()

    async def reload(self) -> None:
        """Set another grace period for all, which stands on their command line; 10 s is what they have at first."""
        await self._reconfigure("grace_period_secs", str(11 + self.done % 2))

    async def rotate(self) -> None:
        """Set another token for all; the tunnel's former secret is refused from now on."""
        token = await self._lab.rotate_token("app.localhost")
        await self._reconfigure("token", f'"{token}"')

    async def upgrade(self) -> None:
        """Replace the program, as a package manager does."""
        write_program(self._folder, self.done + 1)

    async def _reconfigure(self, key: str, value: str) -> None:
        config = self._folder / "prx.toml"
        lines = [line for line in config.read_text().splitlines() if not line.startswith(key)]
        config.write_text("\n".join([*lines, f"{key} = {value}"]) + "\n")
        await control.ask(self._folder / "prx" / "data" / "run", "reload")

    async def repeat(self, act: Callable[[], Awaitable[None]], *, seconds: float, every: float) -> None:
        """Do it every so many seconds; it waits until the one before is over."""
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            await act()
            self.done += 1
            if not self.kills and not await self._settled():
                self.unsettled += 1
            await asyncio.sleep(max(0.0, began + every - time.monotonic()))

    async def _settled(self) -> bool:
        """Return whether prx has two connectors, both of them new, within half a minute."""
        end = time.monotonic() + _SETTLED_WITHIN
        await asyncio.sleep(1)
        while time.monotonic() < end:
            status = await control.status(self._folder / "prx" / "data" / "run")
            running = {item["pid"] for item in (status or {}).get("connectors", [])}
            if running == set(self.subject.children[-2:]) and len(self.subject.children) >= 2 * (self.done + 1):
                return True
            await asyncio.sleep(0.25)
        return False


def write_program(folder: Path, number: int, source: str = "") -> str:
    """Put a program that differs from all before it in one step at `folder`/cloudflared, and return its path.

    source: the real one, or `builtin`; without it the one that lies there is replaced by another of its kind.
    """
    path, new = folder / "cloudflared", folder / "cloudflared.new"
    if source == BUILTIN or (not source and path.read_bytes()[:2] == b"#!"):
        new.write_text(f'#!/bin/sh\n# {number}\nexec {sys.executable} -m prx.lab.connector "$@"\n')
    else:
        shutil.copy(source or path, new)
        with new.open("ab") as file:  # what stands behind the last section is not loaded
            file.write(b"\0")
    new.chmod(0o755)
    new.replace(path)
    return str(path)


async def play(name: str, transport: Transport, program: str, options: argparse.Namespace) -> bool:
    """Play one scene and print what was lost; return whether that is what may be lost."""
    with tempfile.TemporaryDirectory(prefix="prx-replicas-") as temporary:
        folder = Path(temporary)
        if name == "upgrade":
            program = write_program(folder, 0, program)
        setup = Setup(program, "named", transport, more=("replicas = 2", "grace_period_secs = 10"), apart=True)
        async with (
            running_lab(folder) as lab,
            running_origin(folder) as origin,
            prx(lab, origin.port, setup, folder) as subject,
        ):
            await asyncio.sleep(5)  # until all connections are there
            scene = Scene(subject, lab, folder)
            async with load(subject.url, options.rate) as visitors:
                await scene.repeat(getattr(scene, name), seconds=options.seconds, every=options.every)
            states = [event["new"] for event in subject.events if event["event"] == "state_changed"]
            return _tell(name, transport, scene, visitors, states)


def _tell(name: str, transport: Transport, scene: Scene, visitors: Load, states: list[str]) -> bool:
    unaware = UNAWARE[transport]
    excused = [v for v in visitors.lost if any(v.began <= kill + unaware and v.ended >= kill for kill in scene.kills)]
    lost = len(visitors.lost) - len(excused)
    seconds = sorted(visit.ended - visit.began for visit in visitors.visits)
    late = f"; {scene.unsettled} not carried out in time" if scene.unsettled else ""
    p50, p99 = (seconds[len(seconds) * part // 100] * 1000 for part in (50, 99))
    print(
        f"{name:8} {transport:6} {scene.done:3} times: {len(visitors.visits)} sent, {len(excused)} lost on killed connectors, "
        f"{lost} lost beside; p50 {p50:.0f} ms, p99 {p99:.0f} ms, the bench late by {visitors.lag * 1000:.0f} ms; "
        f"states {states}{late}",
        flush=True,
    )
    return lost == 0 and not scene.unsettled


async def main() -> int:
    """Play all scenes, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--transports", default="http2,quic")
    options = parser.parse_args()
    scenes = options.scenes.split(",")
    if unknown := set(scenes) - set(SCENES):
        parser.error(f"no scene {', '.join(sorted(unknown))}; there are {', '.join(SCENES)}")
    program, _ = chosen()
    transports: tuple[Transport, ...] = tuple(item for item in ("http2", "quic") if item in options.transports.split(","))
    results = [await play(name, transport, program, options) for name in scenes for transport in transports]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
