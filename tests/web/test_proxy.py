"""A dashboard behind a proxy with TLS, reached under a name in `[web] hosts`, as the page about it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.web.conftest import Scene, ScriptedPrx, scene

from prx.core.states import State
from prx.core.verdicts import Verdict
from prx.web.address import Listen

PASSWORD = "correct horse battery"
NAME = "prx.home.arpa"

REACHED = [
    # Host as the proxy passes it on, Origin as the browser sends it
    (NAME, f"https://{NAME}"),
    (f"{NAME}:8443", f"https://{NAME}:8443"),
    (f"{NAME}:443", f"https://{NAME}"),
    (NAME.upper(), f"https://{NAME}"),
    (NAME, f"http://{NAME}"),
    (f"{NAME}:{{port}}", f"http://{NAME}:{{port}}"),
]


@pytest.fixture
async def named(tmp_path: Path) -> AsyncIterator[Scene]:
    """Run a dashboard with a password that is reached under a name."""
    async with scene(tmp_path / "run", password=PASSWORD, names=(NAME,)) as running:
        prx = ScriptedPrx()
        prx.track("web", state=State.READY, verdict=Verdict.HEALTHY, url="https://a.example.com", proven=True, told=True)
        await running.start("web-1", prx)
        yield running


@pytest.mark.parametrize(("host", "origin"), REACHED)
async def test_a_proxy_in_front_is_no_obstacle(named: Scene, host: str, origin: str) -> None:
    """Page, log-in and actions work through a proxy that passes Host on, whatever port and scheme it has."""
    own = {"host": host.format(port=named.listen.port), "origin": origin.format(port=named.listen.port)}
    form = {**own, "content-type": "application/x-www-form-urlencoded"}
    welcome = await named.ask("/login", method="POST", headers=form, content="password=correct+horse+battery")
    assert welcome.status_code == 303
    cookie = {"cookie": welcome.headers["set-cookie"].partition(";")[0]}
    assert (await named.ask("/", headers={**own, **cookie})).status_code == 200
    act = {**own, **cookie, "x-prx-action": "1", "sec-fetch-site": "same-origin"}
    assert (await named.ask("/api/v1/tunnels/web/restart", method="POST", headers=act)).status_code == 200


FOREIGN = [
    ("evil.example", "https://evil.example", 421),
    (f"evil.{NAME}", f"https://evil.{NAME}", 421),
    (f"{NAME}.evil.example", f"https://{NAME}.evil.example", 421),
    (f"{NAME}:80:80", f"https://{NAME}", 421),
    (NAME, "https://evil.example", 403),
    (NAME, f"https://{NAME}:8443", 403),
    (f"{NAME}:8443", f"https://{NAME}", 403),
    (NAME, "null", 403),
    (NAME, f"ftp://{NAME}", 403),
    (NAME, f"https://{NAME}.evil.example", 403),
    ("localhost", "http://localhost", 421),
    ("localhost:{port}", "https://localhost:{port}", 403),
    ("127.0.0.1:{port}", f"https://{NAME}", 403),
]


@pytest.mark.parametrize(("host", "origin", "status"), FOREIGN)
async def test_a_name_of_its_own_opens_nothing_to_others(named: Scene, host: str, origin: str, status: int) -> None:
    """Other names, other ports of the same name, and https where no proxy can be stay foreign."""
    own = {"host": host.format(port=named.listen.port), "origin": origin.format(port=named.listen.port)}
    act = {**named.action, **own}
    assert (await named.ask("/api/v1/tunnels/web/restart", method="POST", headers=act)).status_code == status


def test_a_name_may_be_written_with_capitals() -> None:
    """Names know no case, those in the configuration included."""
    assert Listen.parse("127.0.0.1:4141", ("PRX.Home.arpa",)).allows("prx.home.ARPA:443")


async def test_a_proxy_keeps_no_event_back(named: Scene) -> None:
    """The stream tells a proxy that buffers answers (nginx) not to."""
    answer = named.dashboard.streams.response(None)
    sent: list[dict[str, object]] = []
    begun = asyncio.Event()

    async def send(message: dict[str, object]) -> None:
        sent.append(message)
        begun.set()

    async def receive() -> dict[str, object]:
        await begun.wait()
        return {"type": "http.disconnect"}

    assert answer is not None
    await answer({"type": "http", "client": None}, receive, send)  # type: ignore[arg-type]
    assert (b"x-accel-buffering", b"no") in sent[0]["headers"]  # type: ignore[operator]
