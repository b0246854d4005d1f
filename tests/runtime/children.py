"""A prx whose connectors are played: the supervisor and all below it are real, and time is virtual, but no program is started.

A played child needs a second to connect and half a second to end, and holds its metrics port until then. What it was started
with decides what becomes of it: a program whose file is missing cannot run, a token whose secret is `REFUSED` is refused.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from prx.backends.base import Counters, EdgeSite
from prx.config.schema import CloudflareSettings, Config, TunnelSettings
from prx.core import effects, inputs
from prx.core.errors import CredentialError, PermanentError
from prx.core.events import Event, Log
from prx.core.evidence import ChildExit, Evidence, ExitCause
from prx.core.status import TunnelStatus
from prx.core.tunnel_token import TunnelToken
from prx.core.verdicts import Diagnosis, Verdict
from prx.runtime.bus import Bus
from prx.runtime.client_program import ClientProgram
from prx.runtime.context import TunnelContext
from prx.runtime.origin_trust import OriginTrust
from prx.runtime.role import Role
from prx.runtime.succession import HEIR_WITHIN
from prx.runtime.supervisor import Supervisor
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock

SITE = EdgeSite(public_scheme="http", public_port=80, doh=("http://127.0.0.1:9/",), protocols=("http2",), local=True)
REFUSED = b"refused"
CONNECTS_AFTER = 1.0  # seconds
ENDS_AFTER = 0.5  # seconds
TURNS = 16  # of the event loop, for what one timer sets off


def token(host: str, secret: bytes = b"good") -> Secret:
    """Return a token of the tunnel that serves `host`."""
    return Secret(TunnelToken("a" * 32, UUID(int=sum(host.encode())), secret).encode())


def named(host: str, program: Path, *, secret: bytes = b"good", **keys: Any) -> TunnelSettings:
    """Return the settings of a named tunnel."""
    keys = {"token": token(host, secret), "hostname": f"{host}.localhost", "cloudflared_path": str(program), **keys}
    return TunnelSettings(local_addr="127.0.0.1:9", cloudflare=CloudflareSettings(mode="named", **keys))


class Child:
    """One played child: a `prx.runtime.run.Run` as far as connectors know it."""

    def __init__(
        self, stage: Stage, number: int, context: TunnelContext, send: Callable[[inputs.Input], None], role: Role, port: int
    ) -> None:
        self.stage, self.number, self.context, self.role, self.port = stage, number, context, role, port
        self.pid = next(stage.pids)
        self.ready = 0
        self.has_connected = False
        self.is_asked_to_end = False
        self.url = context.backend.fixed_url(SITE)
        self.checker: Any = SimpleNamespace(url=self.url, inherit=lambda _: None)
        self.process = SimpleNamespace(pid=self.pid, terminate=self.terminate, kill=lambda: self.end(ExitCause.CRASH, 9))
        self._send = send
        self._ended: asyncio.Future[ChildExit] = asyncio.get_running_loop().create_future()
        stage.clock.call_later(CONNECTS_AFTER, lambda: self.connect(4))

    @property
    def is_over(self) -> bool:
        """Return whether it has ended."""
        return self._ended.done()

    @property
    def serves(self) -> bool:
        """Return whether visitors come through it."""
        return self.ready > 0 and not self.is_asked_to_end and not self._ended.done()

    @property
    def lacks_port(self) -> bool:
        """Return whether it has another port than the fixed one."""
        return self.context.client.metrics_port not in {0, self.port}

    def connect(self, ready: int) -> None:
        """Have so many connections from now on."""
        if self._ended.done():
            return
        self.ready, self.has_connected = ready, self.has_connected or ready > 0
        self._send(inputs.CheckNow(self.number))

    def terminate(self) -> None:
        """Take no visitor any more, and end a little later."""
        served, self.is_asked_to_end = self.serves, True
        if served:
            self.stage.check_end(self)
        self.stage.clock.call_later(ENDS_AFTER, lambda: self.end(ExitCause.CRASH))

    def end(self, cause: ExitCause, signal: int | None = None) -> None:
        """End."""
        if not self._ended.done():
            self._ended.set_result(ChildExit(None if signal else 0, signal, cause))

    async def watch(self) -> None:
        """Notice nothing by itself."""
        await asyncio.get_running_loop().create_future()

    async def wait(self) -> inputs.Exited:
        """Return its end."""
        found = await asyncio.shield(self._ended)
        self._forget()
        return inputs.Exited(self.number, self.pid, found, Diagnosis(Verdict.CRASHED, found.words(), connected=False))

    def _forget(self) -> None:
        self.ready = 0
        if self in self.stage.children:
            self.stage.children.remove(self)
            if self.port and self.port == self.context.client.metrics_port:
                self.context.shared.ports.free(self.port)

    async def aclose(self) -> None:
        """End at once."""
        self.end(ExitCause.CRASH, 9)
        self._forget()

    async def check(self) -> tuple[Evidence, inputs.Checked]:
        """Find what there is to be found."""
        evidence = Evidence(self.stage.clock.monotonic(), self.url)
        if not self.ready:
            verdict = Verdict.EDGE_LOST if self.has_connected else Verdict.STARTING
            return evidence, inputs.Checked(self.number, Diagnosis(verdict, "no connection", connected=False))
        if not self.role.leads:
            verdict = Verdict.HEALTHY if self.role.proven else Verdict.STARTING
            return evidence, inputs.Checked(self.number, Diagnosis(verdict, "connected", second_hand=True))
        return evidence, inputs.Checked(self.number, Diagnosis(Verdict.HEALTHY, "answers 200"), self.url)

    async def counters(self, *, max_age: float) -> Counters | None:
        """Count nothing."""
        del max_age
        return None

    async def report_draining(self) -> None:
        """Wait for no request."""

    async def visitors(self) -> int | None:
        """Know of none."""
        return None

    async def confirm(self) -> bool:
        """Return whether it serves."""
        return self.serves

    def forget_network(self) -> None:
        """Take in nothing."""


@dataclass
class Stage:
    """The supervisor, its children, and what is wanted of it.

    stopped: the tunnels that are to be down; ending: those that were stopped since they were asked for last, and when. former:
    the tunnels of the configuration before this one. broken: what fails for now. faults: what visitors have lost by what prx
    did, in words. folder: what it has for itself.
    """

    clock: ManualClock
    supervisor: Supervisor
    folder: Path
    stopped: set[str] = field(default_factory=set)
    ending: dict[str, float] = field(default_factory=dict)
    former: dict[str, TunnelSettings] = field(default_factory=dict)
    broken: dict[tuple[Any, str], pytest.MonkeyPatch] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)
    started: int = 0
    faults: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    pids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    running: asyncio.Task[int] | None = None

    @property
    def wanted(self) -> dict[str, TunnelSettings]:
        """The tunnels that are to be up."""
        return {name: item for name, item in self.supervisor.config.tunnels.items() if name not in self.stopped}

    def has_ended(self) -> bool:
        """Return whether prx has ended by itself."""
        return self.running is not None and self.running.done()

    @property
    def statuses(self) -> dict[str, TunnelStatus]:
        """What prx says of each tunnel."""
        return {status.name: status for status in self.supervisor.statuses()}

    async def start_child(
        self,
        effect: effects.Spawn,
        context: TunnelContext,
        program: ClientProgram,
        trust: OriginTrust,
        *,
        send: Callable[[inputs.Input], None],
        role: Role,
    ) -> tuple[Child, str]:
        """Take the place of `prx.runtime.child_start.start_child`."""
        program.about_to_start(context)
        trust.started(context.settings)
        context.backend.check()
        await asyncio.sleep(0)
        if not Path(context.client.program()[0]).exists():
            raise PermanentError("the program is missing")
        if TunnelToken.decode(context.settings.cloudflare.token.reveal()).secret == REFUSED:
            raise CredentialError("the token is refused")
        fixed = context.client.metrics_port
        child = Child(self, effect.run, context, send, role, fixed if context.shared.ports.take(fixed) else 1)
        self.children.append(child)
        self.started += 1
        program.started()
        return child, "1.0"

    def check_end(self, child: Child) -> None:
        """Note what visitors lose as a child that serves is asked to end, unless its own tunnel was stopped."""
        group, name = child.context.group, child.context.name
        if name in self.ending and (self._is_own(group, name) or self.clock.monotonic() - self.ending[name] >= HEIR_WITHIN):
            return
        others = [item for item in self.children if item.serves]
        if any(item.context.group == group for item in others):
            return
        if any(_group(item) == group for item in self.wanted.values()):
            self.faults.append(f"{self.clock.monotonic():.1f}: {child.url} is served no more")
        elif name in self.wanted and _group(self.wanted[name]) not in {item.context.group for item in others}:
            self.faults.append(f"{self.clock.monotonic():.1f}: {name} has another token, and is not up by it")

    def _is_own(self, group: str, name: str) -> bool:
        settings = self.supervisor.config.tunnels.get(name)
        return settings is None or _group(settings) == group

    async def turn(self) -> None:
        """Wait until everything has run that has something to do."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def go_on(self, seconds: float) -> None:
        """Wait for so many virtual seconds."""
        end = self.clock.monotonic() + seconds
        await self.turn()
        while self.clock.advance_to_next(end):
            await self.turn()

    def story(self) -> str:
        """Return what happened, for the message of a failed test."""
        start = self.events[0].at if self.events else 0.0
        lines = [f"{event.at - start:7.1f} {event.fact!r}" for event in self.events if event.fact.name != "probe"]
        return "\n".join([*map(repr, self.supervisor.statuses()), *lines[-80:]])


def _group(settings: TunnelSettings) -> str:
    return str(TunnelToken.decode(settings.cloudflare.token.reveal()).tunnel_id)


@asynccontextmanager
async def stage(folder: Path, tunnels: dict[str, TunnelSettings]) -> AsyncIterator[Stage]:
    """Run prx with these tunnels."""
    clock = ManualClock()
    environ = {"HOME": str(folder), "PRX_DATA_DIR": str(folder / "data"), "PATH": "/usr/bin:/bin"}
    config = Config(tunnels=tunnels)
    supervisor = Supervisor(config, clock=clock, bus=Bus(clock), data_dir=folder / "data", site=SITE, environ=environ)
    here = Stage(clock, supervisor, folder)
    supervisor.bus.listen(here.events.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prx.runtime.connector.start_child", here.start_child)
        here.running = asyncio.create_task(supervisor.run())  # noqa: TID251 - awaited below
        while not supervisor.statuses():  # noqa: ASYNC110 - it is there within a few turns of the loop
            await asyncio.sleep(0)
        try:
            yield here
        finally:
            for broken in here.broken.values():
                broken.undo()
            supervisor.stop()
            here.stopped.update(supervisor.config.tunnels)
            for _ in range(100):
                if here.running.done():
                    break
                await here.go_on(1)
            assert here.running.done(), here.story()
            await here.running
        logged = [event.fact.message for event in here.events if isinstance(event.fact, Log)]
        assert not [message for message in logged if "AttributeError" in message], "a played child lacks what connectors use"
