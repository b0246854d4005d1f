"""What a service sent before it broke off passes the builtin connector and the lab, over both protocols, each time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.lab.connector.child import started
from tests.lab.connector.test_lab import connected
from tests.lab.edge.breaking import BREAKS, NO_ANSWER, Breaking, Seen, breaking, look
from tests.lab.edge.conftest import events, lab, limits  # noqa: F401 - fixtures
from tests.lab.edge.test_broken_off import AGAIN, WAYS

from prx.lab import Lab


@pytest.fixture
async def service(lab: Lab, protocol: str, tmp_path: Path) -> AsyncIterator[Breaking]:  # noqa: F811 - a fixture
    """Run a service that breaks off behind a builtin connector."""
    (tmp_path / "token").write_text(lab.token("web"))
    edges = [word for address in lab.edge_addrs for word in ("--edge", address)]
    words = ["tunnel", *edges, "--cacert", str(lab.ca_file), "--metrics", "127.0.0.1:0", "--ha-connections", "2"]
    async with breaking() as running:
        origin = ["--url", f"http://127.0.0.1:{running.port}"]
        async with started([*words, "--protocol", protocol, "run", "--token-file", str(tmp_path / "token"), *origin], tmp_path):
            await connected(lab, 2)
            yield running


@pytest.mark.parametrize("name", BREAKS)
async def test_what_came_before_the_break(lab: Lab, service: Breaking, name: str) -> None:  # noqa: F811 - a fixture
    """Head and bytes arrive, to the last that the service has sent, and the response never looks whole."""
    for how in WAYS:
        for _ in range(AGAIN):
            assert await look(lab, "web.localhost", f"/{name}", how) == Seen(200, BREAKS[name][2], whole=False), how


@pytest.mark.parametrize("name", NO_ANSWER)
async def test_no_head_is_a_502(lab: Lab, service: Breaking, name: str) -> None:  # noqa: F811 - a fixture
    """A service that ends before its head is whole is a 502 of the edge, each time."""
    for how in WAYS:
        assert await look(lab, "web.localhost", f"/{name}", how) == Seen(502, b"error code: 502", whole=True), how


async def test_stalled_and_closed(lab: Lab, service: Breaking) -> None:  # noqa: F811 - a fixture
    """A service that sends a part, waits, and then closes is cut off where it stopped."""
    service.go.set()
    for how in WAYS:
        assert await look(lab, "web.localhost", "/stall-no-last-chunk", how) == Seen(200, b"hello", whole=False), how
