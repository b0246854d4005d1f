"""`backend = "none"`: a URL that another program keeps up, and prx only watches."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.cli.home import Home
from tests.support.origin import serving
from tests.support.waits import free_port


@pytest.fixture
def service() -> Iterator[int]:
    """Serve, and return the port."""
    with serving() as origin:
        yield origin.port


@pytest.mark.parametrize("runs", [True, False], ids=["the service runs", "it does not"])
def test_a_watched_url_is_not_judged_as_cloudflares(service: int, home: Home, runs: bool) -> None:
    """A URL of another program that does not answer is called that, or its service is; no DNS record is at fault."""
    port = service if runs else free_port()
    url = f"http://127.0.0.1:{free_port()}"
    (home.folder / "prx.toml").write_text(
        f'[tunnel]\nlocal_addr = "127.0.0.1:{port}"\nbackend = "none"\npublic_url = "{url}"\n'
    )
    started = home.start("--json")
    started.wait_for('"event": "probe"')
    why = json.loads(home.run("why", "--json").stdout)["tunnels"][0]
    assert why["verdict"] == ("unreachable" if runs else "origin_down")
    assert "DNS record" not in f"{why['reason']} {why['hint']}"
