"""Whatever is asked of several tunnels, in whatever order: no visitor pays for it, and what is wanted is what comes of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.children import REFUSED, Stage, named, stage, token

from prx.config.schema import Config, TunnelSettings
from prx.core import inputs
from prx.core.errors import PrxError
from prx.core.evidence import ExitCause
from prx.core.states import State
from prx.core.tunnel_token import TunnelToken
from prx.runtime import succession
from prx.runtime.fallen_back import FallenBack
from prx.runtime.handover import Heirs
from prx.runtime.succession import Succession
from prx.runtime.surplus import Surplus
from prx.runtime.tunnel import Tunnel

PROGRAMS = ("old", "new")
BESIDE = (
    (succession, "_is_as_good"),
    (Succession, "_is_needed"),
    (Surplus, "_can_do_without"),
    (Tunnel, "start_beside"),
    (Heirs, "tell"),
    (FallenBack, "check"),
)
SETTLES_WITHIN = 900.0  # seconds: after the longest wait of the schedule

Step = tuple[Callable[..., Awaitable[None] | None], Any]


def apply(here: Stage, tunnels: dict[str, TunnelSettings]) -> None:
    """Reload with these tunnels; one that is taken out is not stopped any more."""
    here.stopped &= tunnels.keys()
    for name in tunnels.keys() - here.supervisor.config.tunnels.keys():
        here.ending.pop(name, None)
    here.former = dict(here.supervisor.config.tunnels)
    here.supervisor.reload(Config(tunnels=tunnels))


def pick(here: Stage, number: int) -> str:
    """Return the name of a tunnel in the configuration."""
    names = list(here.supervisor.config.tunnels)
    return names[number % len(names)]


def with_keys(here: Stage, name: str, **keys: Any) -> None:
    """Change settings of a tunnel."""
    tunnels = here.supervisor.config.tunnels
    changed = replace(tunnels[name], cloudflare=replace(tunnels[name].cloudflare, **keys))
    apply(here, {**tunnels, name: changed})


def resize(here: Stage, number: int) -> None:
    """Have another number of connectors."""
    name = pick(here, number)
    if not here.supervisor.config.tunnels[name].cloudflare.metrics_port:
        with_keys(here, name, replicas=1 + number % 3)


def restart(here: Stage, number: int) -> None:
    """Ask for a restart."""
    name = pick(here, number)
    here.stopped.discard(name)
    here.ending.pop(name, None)
    here.supervisor.restart(name)


def stop(here: Stage, number: int) -> None:
    """Ask for a stop, if another one goes on."""
    name = pick(here, number)
    if here.wanted.keys() - {name}:
        at_once = name in here.stopped
        here.stopped.add(name)
        here.ending[name] = float("-inf") if at_once else here.clock.monotonic()
        here.supervisor.stop(name)


def change(here: Stage, number: int) -> None:
    """Change what a connector is started with."""
    with_keys(here, pick(here, number), retries=3 + number % 5)


def change_little(here: Stage, number: int) -> None:
    """Change what a connector can go on with."""
    tunnels = here.supervisor.config.tunnels
    name = pick(here, number)
    apply(here, {**tunnels, name: replace(tunnels[name], health_check_interval_secs=20.0 + number)})


def take_back(here: Stage, number: int) -> None:
    """Have the configuration again that was in force before the last change."""
    apply(here, here.former or dict(here.supervisor.config.tunnels))


def reload(here: Stage, number: int) -> None:
    """Reload, and nothing has changed."""
    apply(here, dict(here.supervisor.config.tunnels))


def shrink_and_grow(here: Stage, number: int) -> None:
    """Have one connector, and in the same moment as many as before, or one more."""
    name = pick(here, number)
    before = here.supervisor.config.tunnels[name].cloudflare
    if not before.metrics_port:
        with_keys(here, name, replicas=1)
        with_keys(here, name, replicas=min(3, before.replicas + number % 2))


def rename(here: Stage, number: int) -> None:
    """Call a tunnel by another name, which may have been in use before."""
    old, new = pick(here, number), f"n{number % 5}"
    tunnels = here.supervisor.config.tunnels
    if new not in tunnels:
        apply(here, {new if name == old else name: item for name, item in tunnels.items()})


def exchange(here: Stage, number: int) -> None:
    """Have all tunnels pass their settings on to the next one, or their tokens alone."""
    tunnels = here.supervisor.config.tunnels
    names = list(tunnels)
    new = {name: tunnels[names[place - 1]] for place, name in enumerate(names)}
    if number % 2:
        ports = {name: tunnels[name].cloudflare.metrics_port for name in names}
        if any(ports.values()):
            new = {
                name: replace(item, cloudflare=replace(item.cloudflare, metrics_port=ports[name], replicas=1))
                for name, item in new.items()
            }
    apply(here, new)


def rotate(here: Stage, number: int) -> None:
    """Change the token of a tunnel to another of its own: a good one, or one that is refused."""
    name = pick(here, number)
    host = here.supervisor.config.tunnels[name].cloudflare.hostname.removesuffix(".localhost")
    with_keys(here, name, token=token(host, REFUSED if number % 3 == 0 else f"s{number}".encode()))


def take_out(here: Stage, number: int) -> None:
    """Take a tunnel out of the configuration, if another one stays."""
    tunnels = here.supervisor.config.tunnels
    name = pick(here, number)
    if len(tunnels) > 1:
        apply(here, {other: item for other, item in tunnels.items() if other != name})


def add(here: Stage, number: int) -> None:
    """Add a tunnel for a host that has none."""
    tunnels = here.supervisor.config.tunnels
    used = {item.cloudflare.hostname for item in tunnels.values()}
    host, name = f"h{number % 4}", f"n{number % 5}"
    if name not in tunnels and f"{host}.localhost" not in used:
        apply(here, {**tunnels, name: named(host, program(here, number), replicas=1 + number % 2)})


def program(here: Stage, number: int) -> Path:
    """Return the path of a program."""
    return Path(next(iter(here.supervisor.config.tunnels.values())).cloudflare.cloudflared_path).with_name(PROGRAMS[number % 2])


def use_program(here: Stage, number: int) -> None:
    """Have a tunnel run another program."""
    with_keys(here, pick(here, number), cloudflared_path=str(program(here, number // 2)))


def break_program(here: Stage, number: int) -> None:
    """Take a program away."""
    program(here, number).unlink(missing_ok=True)


def mend_program(here: Stage, number: int) -> None:
    """Put a program back, or replace it."""
    path = program(here, number)
    path.write_text(f"{here.clock.monotonic()} {number}")
    path.chmod(0o755)


def kill(here: Stage, number: int) -> None:
    """Have a child end by itself."""
    if here.children:
        here.children[number % len(here.children)].end(ExitCause.CRASH, 9)


def kill_new(here: Stage, number: int) -> None:
    """Have a child end that is still coming up."""
    coming = [child for child in here.children if not child.has_connected]
    if coming:
        coming[number % len(coming)].end(ExitCause.CRASH, 9)


async def cut_off(here: Stage, number: int) -> None:
    """Have a child lose the edge for some seconds."""
    if here.children:
        child = here.children[number % len(here.children)]
        if child.ready:
            child.connect(0)
            here.clock.call_later(1.0 + number, lambda: child.connect(4))


def fail(here: Stage, number: int) -> None:
    """Have the supervision of a tunnel fail."""
    keepers = list(here.supervisor._keepers.values())
    connectors = keepers[number % len(keepers)].tunnel.connectors if keepers else ()
    if connectors:

        def defect(*_: object) -> Any:
            raise RuntimeError("a defect")

        connectors[0].machine.handle = defect  # type: ignore[assignment,method-assign]
        connectors[0].send(inputs.Woken("binary"))


def fail_beside(here: Stage, number: int) -> None:
    """Have something fail for some seconds that a tunnel does beside what serves."""

    def defect(*_: object) -> Any:
        raise RuntimeError("a defect")

    owner, name = BESIDE[number % len(BESIDE)]
    if (owner, name) in here.broken:
        return
    patch = here.broken[owner, name] = pytest.MonkeyPatch()
    patch.setattr(owner, name, defect)

    def repair() -> None:
        patch.undo()
        here.broken.pop((owner, name), None)

    here.clock.call_later(1.0 + number / 4, repair)


async def wait(here: Stage, number: int) -> None:
    """Wait for a moment, or for as long as it takes what was started."""
    await here.go_on((0.3, 0.7, 1.3, 3.0, 12.0, 60.0)[number % 6])


HARMLESS = [resize, restart, stop, change, change_little, rename, exchange, take_out, add, use_program]
HARMLESS += [take_back, take_back, reload, shrink_and_grow]
FAULTS = [rotate, break_program, mend_program, kill, kill_new, cut_off, fail, fail_beside]


def steps(*kinds: Callable[..., Any]) -> st.SearchStrategy[list[Step]]:
    """Return the steps of a story: each of a kind, with a number that says the rest."""
    return st.lists(st.tuples(st.sampled_from([*kinds, wait, wait]), st.integers(0, 59)), max_size=14)


def ended_well(here: Stage) -> list[str]:
    """Return what is not as it is wanted, in words."""
    found = []
    for name, item in here.supervisor.config.tunnels.items():
        status, own = here.statuses[name], [child for child in here.children if child.context.name == name]
        if name in here.stopped:
            if own or status.state is not State.IDLE:
                found.append(f"{name} was stopped: {status.state}, {len(own)} children")
            continue
        number, serving = item.cloudflare.replicas, status.to_json(0.0)["serving"]
        if (status.state, serving, len(status.connectors), len(own)) != (State.READY, number, number, number):
            found.append(f"{name}: {status.state}, {serving} serve of {number}, {len(own)} children: {status.reason}")
        for child in own:
            wanted = replace(item.cloudflare, replicas=child.context.settings.cloudflare.replicas)
            if child.context.settings.cloudflare != wanted:
                found.append(f"{name}: a child has other settings")
            if item.cloudflare.metrics_port not in {0, child.port}:
                found.append(f"{name}: a child has another port")
    names = {child.context.name for child in here.children} | here.statuses.keys()
    return [*found, *(f"{name} is left" for name in names - here.supervisor.config.tunnels.keys())]


async def play(folder: Path, story: list[Step], *, ports: bool) -> None:
    """Play a story, put right what is wrong, and hold what must hold."""
    for name in PROGRAMS:
        (folder / name).write_text(name)
        (folder / name).chmod(0o755)
    first = named("h0", folder / "old", metrics_port=20001 if ports else 0)
    async with stage(folder, {"n0": first, "n1": named("h1", folder / "old", replicas=2)}) as here:
        await here.go_on(10)
        try:
            for act, number in story:
                done = act(here, number)
                if done is not None:
                    await done
                await here.turn()
            for number in range(len(PROGRAMS)):
                mend_program(here, number)
            for name, item in here.supervisor.config.tunnels.items():
                if TunnelToken.decode(item.cloudflare.token.reveal()).secret == REFUSED:
                    with_keys(here, name, token=token(item.cloudflare.hostname.removesuffix(".localhost")))
        except PrxError:  # it is too late for prx to take what is asked for
            await here.turn()
            assert here.has_ended(), here.story()
        if here.has_ended():
            assert not [child for child in here.children if child.serves], here.story()
            return
        end = here.clock.monotonic() + SETTLES_WITHIN
        while ended_well(here) and here.clock.monotonic() < end:
            await here.go_on(20)
            if here.has_ended() and not here.children:  # it was put right too late
                return
        assert (ended_well(here), here.faults) == ([], []), f"{ended_well(here)} {here.faults}\n{here.story()}"


@pytest.mark.parametrize("ports", [False, True], ids=["drawn ports", "a fixed port"])
@settings(max_examples=40)
@given(story=steps(*HARMLESS))
def test_no_wish_costs_a_visitor(story: list[Step], *, ports: bool) -> None:
    """Each URL that is wanted is served all the time, and in the end everything is as it was asked for last."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), story, ports=ports))


@pytest.mark.parametrize("ports", [False, True], ids=["drawn ports", "a fixed port"])
@settings(max_examples=40)
@given(story=steps(*HARMLESS, *FAULTS, *FAULTS))
def test_no_fault_makes_prx_end_what_serves(story: list[Step], *, ports: bool) -> None:
    """With crashes, programs and tokens that are wrong, and supervisions that fail: prx ends nothing that is needed."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), story, ports=ports))
