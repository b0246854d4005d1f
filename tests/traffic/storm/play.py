"""Webhooks by the thousand, sent to a real prx over the wire while it, the service and the disk fail.

Theory of operation. Senders, each with a sequence of its own, post to the relay of a running `prx start --catch` as a connector
does: they go on to the next number only after a 202 or 200, and send the same one again, as another *attempt*, after anything
else. prx is killed while they send, and started again in the same folder; then the service comes up, and both are killed while
what was kept is handed over. Every attempt that was answered must have arrived; twice only with the mark; and the answered ones
of each sender in order.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.support.waits import free_port

PRX = (sys.executable, "-P", "-m", "prx", "start", "--catch", "--lab")
SERVICE = (sys.executable, str(Path(__file__).with_name("service.py")))
BODY = 32  # bytes of a webhook: its attempt
STEP = 0.02  # seconds between two checks of what another process does


@dataclass
class Storm:
    """A folder for prx and the service, their ports, and what was answered."""

    folder: Path
    chance: random.Random
    relay_port: int = field(default_factory=free_port)
    service_port: int = field(default_factory=free_port)
    answered: dict[tuple[str, int], int] = field(default_factory=dict)  # (sender, number): the attempt that was answered
    refused: Counter[str] = field(default_factory=Counter)
    wrapper: tuple[str, ...] = ()
    kills: int = 0

    @property
    def notes(self) -> Path:
        """Where the service notes what it gets."""
        return self.folder / "notes"

    def environ(self) -> dict[str, str]:
        """Return the environment of prx."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PRX_DATA_DIR": str(self.folder / "data"),
            "LANG": "C.UTF-8",
        }

    def prepare(self) -> None:
        """Write the configuration."""
        (self.folder / "prx.toml").write_text(
            f'[tunnel]\nlocal_addr = "127.0.0.1:{self.service_port}"\n[tunnel.inspect]\nport = {self.relay_port}\n'
            '[tunnel.cloudflare]\ncloudflared_path = "builtin"\n'
        )
        (self.folder / "prx.toml").chmod(0o600)
        self.notes.touch()

    @asynccontextmanager
    async def prx(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run prx until the block ends, which kills it, until its relay listens."""
        process = await asyncio.create_subprocess_exec(
            *self.wrapper, *PRX, env=self.environ(), cwd=self.folder, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await self._listens(self.relay_port, process)
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()

    @asynccontextmanager
    async def service(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the service until the block ends, which kills it."""
        process = await asyncio.create_subprocess_exec(
            *SERVICE, str(self.service_port), str(self.notes), stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            await process.stdout.readline()
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()

    async def _listens(self, port: int, process: asyncio.subprocess.Process) -> None:
        while True:
            assert process.returncode is None, f"prx ended with {process.returncode}"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(STEP)
            else:
                writer.close()
                return

    async def send(self, sender: str, numbers: range) -> None:
        """Send webhooks one after the other, each until it is answered 202 or 200."""
        for number in numbers:
            attempt = 0
            while (said := await self._post(sender, number, attempt)) not in {"202", "200"}:
                self.refused[said] += 1
                attempt += 1
                await asyncio.sleep(STEP)
            self.answered[sender, number] = attempt

    async def _post(self, sender: str, number: int, attempt: int) -> str:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.relay_port)
        except OSError:
            return "not there"
        try:
            body = str(attempt).ljust(BODY).encode()
            writer.write(
                b"POST /%s/%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (sender.encode(), number, BODY) + body
            )
            line = await reader.readline()
        except OSError:
            return "broken off"
        finally:
            writer.transport.abort()
        return line.split()[1].decode() if line else "broken off"

    def arrived(self) -> list[tuple[str, int, int, bool]]:
        """Return what the service has noted: sender, number, attempt, and whether it was marked as one that comes again."""
        found = []
        for line in self.notes.read_text().splitlines():
            path, mark, attempt = line.split()
            _, sender, number = path.split("/")
            found.append((sender, int(number), int(attempt), mark == "1"))
        return found

    def missing(self) -> int:
        """Return how many answered webhooks have not arrived."""
        there = {(sender, number, attempt) for sender, number, attempt, _ in self.arrived()}
        return sum((*key, attempt) not in there for key, attempt in self.answered.items())

    def faults(self) -> list[str]:
        """Return what is not as promised, a line each."""
        found: list[str] = []
        seen: set[tuple[str, int, int]] = set()
        newest: dict[str, int] = {}
        for sender, number, attempt, marked in self.arrived():
            key = sender, number, attempt
            if key in seen:
                found += [] if marked else [f"{key} came twice without a mark"]
                continue
            seen.add(key)
            if self.answered.get((sender, number)) == attempt:
                if number < newest.get(sender, -1):
                    found.append(f"{key} came after {newest[sender]}")
                newest[sender] = max(number, newest.get(sender, -1))
        found += [f"{key} was answered and never came" for key, at in self.answered.items() if (*key, at) not in seen]
        return found


async def play(folder: Path, *, count: int, senders: int, kills: int, seed: int) -> Storm:
    """Send `count` webhooks by `senders`, kill prx `kills` times in each phase, and the service in the second one."""
    storm = Storm(folder, random.Random(seed))
    storm.prepare()
    each = count // senders
    async with asyncio.TaskGroup() as group:
        for number in range(senders):
            group.create_task(storm.send(f"s{number}", range(each)))
        for part in range(kills):  # the service is down
            wanted = count * (part + 1) // (kills + 1) - storm.chance.randrange(senders)
            async with storm.prx():
                await until(partial(has_answered, storm, wanted))
            storm.kills += 1
        for part in range(kills):  # and comes up
            async with storm.prx():
                await until(partial(has_answered, storm, each * senders))
                there = storm.missing()
                for wanted in (there - there // (2 * kills), there - there // kills if part < kills - 1 else there // 4):
                    async with storm.service():
                        await until(partial(misses, storm, wanted), every=0.1)
            storm.kills += 2
        async with storm.prx(), storm.service():
            await until(partial(misses, storm, 0), every=0.1)
    return storm


def has_answered(storm: Storm, wanted: int) -> bool:
    """Return whether as many webhooks have been answered."""
    return len(storm.answered) >= wanted


def misses(storm: Storm, wanted: int) -> bool:
    """Return whether no more are missing."""
    return storm.missing() <= wanted


async def until(condition: Callable[[], bool], *, every: float = STEP) -> None:
    """Wait until something is so in other processes, which cannot be awaited."""
    while not condition():  # noqa: ASYNC110 - as said
        await asyncio.sleep(every)


def told(storm: Storm, seconds: float) -> str:
    """Return what came of it in a paragraph."""
    arrived = storm.arrived()
    marked = sum(mark for *_, mark in arrived)
    return (
        f"{len(storm.answered)} webhooks answered, {len(arrived)} arrivals ({marked} marked as sent again), "
        f"{storm.kills} kills, {sum(storm.refused.values())} attempts without an answer ({dict(storm.refused)}), "
        f"{seconds:.0f} s; "
        f"not as promised: {len(storm.faults())}"
    )


def timed(folder: Path, **what: int) -> tuple[Storm, float]:
    """Play one, and return how long it took."""
    began = time.monotonic()
    return asyncio.run(play(folder, **what)), time.monotonic() - began
