"""A lab, an origin, and what connects them, for every test of the edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.lab.edge.cloudflared import run_cloudflared
from tests.support.origin import Origin, run_origin

from prx.lab import Lab, LabConfig
from prx.lab.events import LabEvent


@pytest.fixture
def events() -> list[LabEvent]:
    """Every event of the lab, in order."""
    return []


@pytest.fixture
def limits() -> str:
    """The limits of the lab; a test may ask for others."""
    return "free"


@pytest.fixture
async def lab(events: list[LabEvent], limits: str) -> AsyncIterator[Lab]:
    """A running lab, which leaves no task and no file descriptor behind."""
    descriptors = open_descriptors()
    async with Lab.start(LabConfig(on_event=events.append, limits=limits)) as running:
        yield running
    names = ("edge-", "public-", "quick-", "control-", "upload", "push-")
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith(names)] == []
    for _ in range(100):  # closed sockets are let go in the next turns of the event loop
        if open_descriptors() <= descriptors:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the lab left file descriptors open")


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A running origin."""
    async with run_origin() as running:
        yield running


@pytest.fixture(params=["quick", "named"])
async def hostname(request: pytest.FixtureRequest, lab: Lab, origin: Origin, tmp_path: Path) -> AsyncIterator[str]:
    """The name of a tunnel that the real cloudflared serves: a quick one and a named one."""
    url = f"http://127.0.0.1:{origin.port}"
    if request.param == "quick":
        async with run_cloudflared(lab, tmp_path, "--url", url):
            await lab.wait_for(lambda lab: any(tunnel.connections for tunnel in lab.tunnels()))
            yield lab.tunnels()[0].hostname
        return
    token = tmp_path / "token"
    token.write_text(lab.token("web"))
    flags = ("--url", url, "--ha-connections", "2")  # the first two start at once, each further one a second later
    async with run_cloudflared(lab, tmp_path, *flags, after_run=("--token-file", str(token))):
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == 2)
        yield "web.localhost"


def open_descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
