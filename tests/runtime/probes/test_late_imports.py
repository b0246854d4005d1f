"""Libraries that are loaded when they are needed: there may be no descriptor left to load them with."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec

import pytest
from tests.support.servers import Servers

from prx.runtime.host import network
from prx.runtime.probes import error_pages, listening
from prx.runtime.probes.connect import Endpoint, ProbeError, connected
from prx.runtime.probes.http import Answer, Request, exchange, prepare


class _NoDescriptor:
    """A finder that fails as the real one does when no file can be opened."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.fixture
def no_descriptor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have neither library loaded, and nothing else that is not loaded yet."""
    for name in [name for name in sys.modules if name.partition(".")[0] in {"psutil", "html"}]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_NoDescriptor()])
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("no_descriptor")
def test_no_library_is_no_knowledge(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only psutil knows is not known then: no listener is seen, and the network has no name; nothing is raised."""
    monkeypatch.setattr(network, "routes", lambda: [network.Route("lo", "0")])
    assert listening.listeners([os.getpid()]) == set()
    assert network._any_interface_up() is None
    assert network.fingerprint() == ""


@pytest.mark.usefixtures("no_descriptor")
def test_a_page_is_quoted_as_it_is() -> None:
    """The words of an error page are reported with their references to characters, rather than not at all."""
    page = Answer(403, {}, b"Blocked request. This host (&quot;app.test&quot;) is not allowed.")
    assert error_pages.host_blocked(page) == "Blocked request. This host (&quot;app.test&quot;) is not allowed."


LOADED = """
import asyncio, sys
from prx.app import session
from prx.runtime.probes.http import prepare
from prx.runtime.probes.connect import _context
before = "h11" in sys.modules, _context.cache_info().currsize
prepare(tls=True)
print(*before, "h11" in sys.modules, _context.cache_info().currsize)
"""


def test_a_start_loads_no_http_before_its_child() -> None:
    """What only the first check needs, the system's CAs among it, is loaded while the child comes up."""
    ran = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == ["False", "0", "True", "1"]


@pytest.mark.usefixtures("no_descriptor")
async def test_a_question_without_a_descriptor_for_its_module_is_no_answer(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that has none left cannot ask: that is an error of its own, and says nothing of who was asked."""
    for name in ("prx.runtime.probes.talk", "h11"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    prepare()
    served = await servers.canned(b"")
    async with connected(Endpoint("127.0.0.1", served.port), timeout=5.0) as stream:
        with pytest.raises(ProbeError):
            await exchange(stream, Request("/", "x"), timeout=5.0)
