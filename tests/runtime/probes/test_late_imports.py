"""Libraries that are loaded when they are needed: there may be no descriptor left to load them with."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec

import pytest

from prx.runtime.host import network
from prx.runtime.probes import error_pages, listening
from prx.runtime.probes.http import Answer


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
