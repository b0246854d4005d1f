"""When no connector of a tunnel is left that was started with former settings: what only those use may go then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.runtime.children import named, stage
from tests.runtime.test_succession_properties import apply, ended_well, with_keys

from prx.core.evidence import ExitCause


@pytest.mark.parametrize("way", ["changed", "taken out", "renamed", "stopped", "restarted", "cannot run", "serves for another"])
async def test_a_tunnel_has_settled_once_its_last_former_connector_has_ended(tmp_path: Path, way: str) -> None:
    """While one of them lives, and be it for another tunnel, it has not; without any change it has at all times."""
    program = tmp_path / "old"
    program.touch(mode=0o755)
    async with stage(tmp_path, {"n0": named("h0", program, replicas=2), "n1": named("h1", program)}) as here:
        await here.go_on(10)
        prx, tunnels = here.supervisor, here.supervisor.config.tunnels
        assert prx.has_settled("n0")
        former = [child for child in here.children if child.context.name == "n0"]
        missing = replace(tunnels["n0"], cloudflare=replace(tunnels["n0"].cloudflare, cloudflared_path=str(tmp_path / "none")))
        match way:
            case "changed":
                with_keys(here, "n0", retries=7)
            case "taken out":
                apply(here, {"n1": tunnels["n1"]})
            case "renamed":
                apply(here, {"n1": tunnels["n1"], "n2": tunnels["n0"]})
            case "stopped":
                here.stopped.add("n0")
                prx.stop("n0")
            case "restarted":
                prx.restart("n0")
            case "cannot run":
                apply(here, {**tunnels, "n0": missing})
            case _:
                apply(here, {"n0": tunnels["n1"], "n1": missing})
        for _ in range(80):
            await here.go_on(0.1)
            lives = any(child in here.children for child in former)
            assert way == "stopped" or not (lives and prx.has_settled("n0")), here.story()
        assert prx.has_settled("n0") is (way not in {"cannot run", "serves for another"}), here.story()
        assert prx.has_settled("n1") is (way != "serves for another")
        apply(here, dict(tunnels))
        await here.go_on(60)
        assert prx.has_settled("n0")


@pytest.mark.parametrize("number", [2, 3])
async def test_a_connector_that_is_wanted_again_takes_the_settings_that_it_has_missed(tmp_path: Path, number: int) -> None:
    """It was to go, and served on by former settings because no other one did: wanted again, it is replaced as any other."""
    program = tmp_path / "old"
    program.touch(mode=0o755)
    async with stage(tmp_path, {"n0": named("h0", program, replicas=2), "n1": named("h1", program)}) as here:
        await here.go_on(10)
        first, last = (child for child in here.children if child.context.name == "n0")
        first.end(ExitCause.CRASH, 9)
        await here.turn()
        with_keys(here, "n0", retries=7)
        await here.turn()
        with_keys(here, "n0", replicas=1)
        await here.go_on(0.4)
        assert last.serves, here.story()
        with_keys(here, "n0", replicas=number)
        await here.go_on(30)
        assert (ended_well(here), here.faults) == ([], []), here.story()
        assert last not in here.children
