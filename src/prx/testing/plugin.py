"""The pytest plugin: tests that go through a real tunnel, with no account and no Internet.

    lab           a running edge on this machine, one for each test; see `prx.testing.lab.LabInThread`
    tunnel        `tunnel(target)`: a verified tunnel to a port, a URL, a WSGI or ASGI application; see `TunnelFactory`
    lab_limits    what that edge refuses visitors: "free", as on Cloudflare's free plan; override it to return "none"
    public_url    `public_url(target)`: the same, when the URL is all that is wanted
    fake_client   `fake_client(scenario)`: a stand-in for cloudflared that does what the test commands, and carries nothing
    manual_clock  virtual time: a `ManualClock`

While `lab` is in use, names under `.localhost` lead to this machine for every HTTP library in this process. What waits (a
tunnel that comes up, a visit) is a plain call; an asynchronous test hands it to a thread: `asyncio.to_thread(tunnel, app)`.

Theory of operation. The lab runs in a thread with an event loop of its own, the connectors below one process that prx keeps for
the whole test run (`prx.testing.tunnel_worker`), so neither needs the test's own loop. Everything that a test has started is
stopped when it ends, the last first. This module imports nothing of prx until a fixture is used: a run that uses none pays
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from prx.testing.clock import ManualClock
    from prx.testing.factory import Target, TunnelFactory
    from prx.testing.fakeclient import FakeClient
    from prx.testing.lab import LabInThread
    from prx.testing.tunnels import Tunnels


@pytest.fixture(scope="session")
def _prx_tunnels() -> Iterator[Tunnels]:
    """Yield the one process that keeps all tunnels of this test run."""
    from prx.testing.tunnels import tunnels  # noqa: PLC0415 - a run that uses no fixture pays nothing

    with tunnels() as keeper:
        yield keeper


@pytest.fixture
def lab_limits() -> str:
    """Return what the lab refuses visitors, `free` or `none`; override it if a test needs the other."""
    return "free"


@pytest.fixture
def lab(lab_limits: str) -> Iterator[LabInThread]:
    """Yield a running edge on this machine; it is gone when the test ends."""
    from prx.lab import LabConfig  # noqa: PLC0415 - as above
    from prx.testing.lab import lab_in_thread  # noqa: PLC0415 - as above
    from prx.testing.names import localhost_names  # noqa: PLC0415 - as above

    with lab_in_thread(LabConfig(limits=lab_limits)) as running, localhost_names():
        yield running


@pytest.fixture
def tunnel(lab: LabInThread, _prx_tunnels: Tunnels) -> Iterator[TunnelFactory]:
    """Yield `tunnel(target)`, which returns a tunnel when its public URL is verified."""
    from prx.testing.factory import TunnelFactory  # noqa: PLC0415 - as above

    with ExitStack() as stack:
        yield TunnelFactory(lab, _prx_tunnels, stack)


@pytest.fixture
def public_url(tunnel: TunnelFactory) -> Callable[[Target], str]:
    """Return `public_url(target)`, which returns the verified public URL of a port, a URL, a WSGI or ASGI application."""

    def public_url(target: Target, **settings: Any) -> str:
        return tunnel(target, **settings).url

    return public_url


@pytest.fixture
def fake_client(tmp_path: Path) -> Iterator[Callable[[Mapping[str, Any]], FakeClient]]:
    """Yield `fake_client(scenario)`: a program that behaves as cloudflared does, at the test's command."""
    from prx.testing.fakeclient import fake_client  # noqa: PLC0415 - as above

    with ExitStack() as stack:

        def make(scenario: Mapping[str, Any] | None = None, *, name: str = "cloudflared") -> FakeClient:
            return stack.enter_context(fake_client(tmp_path, scenario or {}, name=name))

        yield make


@pytest.fixture
def manual_clock() -> ManualClock:
    """Return a clock that stands still until the test moves it."""
    from prx.testing.clock import ManualClock  # noqa: PLC0415 - as above

    return ManualClock()
