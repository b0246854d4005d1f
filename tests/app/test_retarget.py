"""Another address for a tunnel that runs: taken wholly, or not at all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.waits import free_port

from prx.app.config_in_force import ConfigInForce
from prx.app.inspection import Inspection
from prx.app.running_config import RunningConfig
from prx.app.stop_request import StopRequest
from prx.config.schema import Config, InspectSettings, TunnelSettings
from prx.core.errors import PrxError
from prx.logs.redact import Redactor
from prx.runtime.host.clock import SystemClock
from prx.runtime.supervisor import Supervisor


class Scene:
    """What a run goes by, with one inspected tunnel, and the configurations that its supervisor was given."""

    def __init__(self, folder: Path, origin_ca: str) -> None:
        tunnel = TunnelSettings(
            local_addr=f"127.0.0.1:{free_port()}", origin_ca=origin_ca, inspect=InspectSettings(enabled=True)
        )
        loaded = SimpleNamespace(config=Config(tunnels={"web": tunnel}))
        in_force = cast("ConfigInForce", SimpleNamespace(config=loaded.config, loaded=loaded))
        clock = SystemClock()
        self.inspection = Inspection(clock, Redactor(), lambda _level, _text: None, folder=lambda: folder / "caught")
        self.running = RunningConfig(in_force, self.inspection, StopRequest(), clock, lambda _level, _text: None)
        self.given: list[Any] = []
        self.running.supervisor = cast("Supervisor", SimpleNamespace(reload=self._reload))
        self.inspection.fit(self.running.current())

    def _reload(self, config: Config, *, asked: bool) -> None:
        assert not asked, "of the other tunnels, which may wait for something"
        self.given.append(config)

    @property
    def address(self) -> str:
        """Where the tunnel leads by now."""
        return self.running.current().tunnels["web"].local_addr


@pytest.fixture(params=["garbage", "none", "folder", "fifo"])
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """Yield a scene whose `origin_ca` cannot be used, in one way or another; a service that speaks plain HTTP needs none."""
    (tmp_path / "garbage").write_text("no certificate")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    made = Scene(tmp_path, str(tmp_path / request.param))
    yield made
    await made.inspection.close()


async def test_an_address_that_cannot_be_served_changes_nothing(scene: Scene) -> None:
    """It is refused, and neither stays for the next reload nor stands in the way of another address."""
    before = scene.address
    with pytest.raises(PrxError, match="origin_ca"):
        scene.running.retarget(None, f"https://127.0.0.1:{free_port()}")
    assert (scene.address, scene.given) == (before, [])
    scene.inspection.fit(scene.running.current())
    other = f"127.0.0.1:{free_port()}"
    scene.running.retarget("web", other)
    assert scene.address == other
    assert [config.tunnels["web"].local_addr for config in scene.given] == [other]
