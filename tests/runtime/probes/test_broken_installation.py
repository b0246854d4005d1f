"""A module that cannot be loaded: for now, if the machine lacks something, else a part of prx that is missing or broken."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from tests.runtime.contexts import shared
from tests.support.servers import Served, Servers, answer

from prx.cli import mcp as mcp_command
from prx.cli import web as web_command
from prx.config.schema import TunnelSettings
from prx.core.errors import REINSTALL, PermanentError, ShortageError, UsageError
from prx.core.evidence import Unasked
from prx.files.outgoing import making_client
from prx.runtime.child_monitor import ChildMonitor
from prx.runtime.context import TunnelContext
from prx.runtime.probes import http
from prx.runtime.probes.connect import FailureKind, ProbeError
from prx.runtime.probes.http import _talk
from prx.runtime.probes.origin import probe_origin
from prx.runtime.probes.public import probe_public
from prx.runtime.probes.resolver import Resolver
from prx.testing.clock import ManualClock
from prx.traffic.shown import plain

NO_FILES = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def behind(error: Exception, reason: BaseException) -> Exception:
    """Return an error that was raised for a reason."""
    error.__cause__ = reason
    return error


def handling(error: Exception, reason: BaseException) -> Exception:
    """Return an error that was raised while another one was handled."""
    error.__context__ = reason
    return error


LACKS: dict[str, Exception] = {
    "no descriptor": NO_FILES,
    "the dynamic loader has none": ImportError("lib.so: cannot open shared object file: Too many open files", name="h11"),
    "a library hides it": behind(ImportError("h11 cannot be used", name="h11"), NO_FILES),
    "it was being handled": handling(ModuleNotFoundError("No module named 'h11'", name="h11"), NO_FILES),
    "no memory": ImportError("lib.so: failed to map segment from shared object", name="h11"),
    "no disk": OSError(errno.EIO, os.strerror(errno.EIO), "h11.py"),
}
BROKEN: dict[str, tuple[Exception, str]] = {
    "missing": (ModuleNotFoundError("No module named 'h11'", name="h11"), "the module h11 is missing"),
    "too old": (ImportError("cannot import name 'x' from 'h11'", name="h11"), "h11 cannot be loaded: cannot import name"),
    "another machine's": (ImportError("h11.so: wrong ELF class", name="h11"), "h11 cannot be loaded: h11.so: wrong ELF class"),
    "not ours": (PermissionError(errno.EACCES, "not permitted", "/x/h11.py"), "/x/h11.py cannot be read: not permitted"),
    "without a name": (ImportError("something is wrong"), "the module that it needs cannot be loaded: something is wrong"),
}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that has a module, which is not loaded then, fail with an error."""

    def fail(error: Exception, names: tuple[str, ...] = ("prx.runtime.probes.talk", "h11")) -> None:
        class Finder:
            def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
                if name in names:
                    raise error
                return None

        for name in [known for known in sys.modules if known in names or known.startswith(tuple(f"{one}." for one in names))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])

    yield fail
    monkeypatch.undo()


Fail = Callable[..., None]


@pytest.mark.parametrize("error", LACKS.values(), ids=LACKS)
def test_what_the_machine_lacks_for_a_module_is_no_defect(failing: Fail, error: Exception) -> None:
    """The question was not put, for now; whatever the import makes of the reason."""
    failing(error)
    with pytest.raises(ProbeError) as caught:
        _talk()
    assert (caught.value.trouble, caught.value.unasked) == (FailureKind.SHORT, Unasked.FOR_NOW)
    assert "this machine gives prx no" in caught.value.words


@pytest.mark.parametrize(("error", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_installation_is_no_lack(failing: Fail, error: Exception, words: str) -> None:
    """It passes by no waiting: the error names the module, what is wrong with it, and what helps."""
    failing(error)
    with pytest.raises(ProbeError) as caught:
        _talk()
    assert (caught.value.trouble, caught.value.unasked) == (FailureKind.LOCAL, Unasked.AS_SET_UP)
    assert words in caught.value.words
    assert caught.value.hint == REINSTALL


@pytest.fixture
async def served(servers: Servers) -> Served:
    """Serve something."""
    return await servers.canned(answer(404, b"no"))


async def test_each_question_says_that_prx_is_broken(failing: Fail, served: Served) -> None:
    """The service, the URL and public DNS: none of them is at fault, and each says which module is missing."""
    failing(BROKEN["missing"][0])
    origin = await probe_origin("127.0.0.1", served.port)
    public = await probe_public(f"http://a.localhost:{served.port}/", ["127.0.0.1"])
    dns = await Resolver([f"http://127.0.0.1:{served.port}/dns-query"]).resolve("app.example.com")
    assert {origin.unasked, public.unasked, dns.unasked} == {Unasked.AS_SET_UP}
    assert {origin.error, public.error, dns.detail} == {"the request cannot be made: the module h11 is missing"}
    assert origin.hint == REINSTALL


async def test_a_child_is_not_called_silent_by_a_broken_prx(tmp_path: Path, failing: Fail, servers: Servers) -> None:
    """An answer without a length is read by the careful way; if that cannot be loaded, it is no sign of the child's."""
    clock = ManualClock()
    ready = b'HTTP/1.1 200 OK\r\n\r\n{"status":200,"readyConnections":4,"connectorId":"x"}'
    child_port = (await servers.canned(ready)).port
    child = ChildMonitor(TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock)), "quic", child_port)
    assert await child.check_ready()
    failing(BROKEN["missing"][0])
    for _ in range(5):
        clock.advance(10)
        assert not await child.check_ready()
    seen = child.evidence()
    assert (seen.ready, seen.answers, seen.silent_for) == (4, True, 0.0)


def test_what_is_loaded_ahead_may_be_missing(failing: Fail) -> None:
    """The start goes on: what cannot be loaded is said by the first question."""
    failing(BROKEN["missing"][0])
    http.prepare()


# ---------------------------------------------------------------------- the commands that need a library of an extra


def ask_agents() -> None:
    """Begin `prx mcp`."""
    callback = mcp_command.mcp.callback
    assert callback is not None
    callback(allow_actions=False)


def serve_the_dashboard() -> None:
    """Begin to serve the dashboard."""
    web_command._serve(("127.0.0.1:0", ()), "", b"", quiet=True)


COMMANDS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "prx mcp": (ask_agents, ("mcp",)),
    "prx web": (serve_the_dashboard, ("prx.web.server", "starlette")),
}


@pytest.mark.parametrize(("command", "names"), COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("error", [error for error in LACKS.values() if isinstance(error, ImportError)])
def test_a_machine_with_too_little_lacks_no_extra(
    failing: Fail, command: Callable[[], None], names: tuple[str, ...], error: Exception
) -> None:
    """Another try can help, and no installation: exit code 1, with what helps."""
    failing(error, names)
    with pytest.raises(ShortageError) as caught:
        command()
    assert "pip install" not in caught.value.hint


@pytest.mark.parametrize(("command", "names"), COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'anyio'", name="anyio"), "anyio"),
        (ImportError("x.so: wrong ELF class", name="pydantic_core"), "x.so: wrong ELF class"),
    ],
    ids=["missing", "broken"],
)
def test_what_an_extra_needs_is_named(
    failing: Fail, command: Callable[[], None], names: tuple[str, ...], error: Exception, words: str
) -> None:
    """A library that is there and cannot be loaded is not called missing; what it lacks is."""
    failing(error, names)
    with pytest.raises(PermanentError) as caught:
        command()
    assert words in caught.value.message
    assert "pip install" in caught.value.hint


def test_a_library_that_is_too_old_is_told_with_the_version_that_is_needed(failing: Fail) -> None:
    """Version 1 is there and has no such server."""
    failing(ImportError("cannot import name 'MCPServer' from 'mcp.server'", name="mcp.server"), ("mcp",))
    with pytest.raises(PermanentError, match="version 2 is needed"):
        ask_agents()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ImportError("Using SOCKS proxy, but the 'socksio' package is not installed."), UsageError, "HTTPS_PROXY"),
        (LACKS["the dynamic loader has none"], ImportError, "Too many open files"),
        (LACKS["a library hides it"], ImportError, "h11 cannot be used"),
        (BROKEN["missing"][0], PermanentError, "the module h11 is missing"),
        (BROKEN["another machine's"][0], PermanentError, "wrong ELF class"),
    ],
    ids=["SOCKS", "a lack", "a lack behind", "missing", "broken"],
)
def test_a_proxy_is_blamed_for_its_own_library_alone(error: Exception, kind: type[Exception], words: str) -> None:
    """A module that prx needs anyway is no fault of a variable, which may not even be set."""
    with pytest.raises(kind, match=words), making_client():
        raise error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LACKS["the dynamic loader has none"], "not unpacked, as this machine gives prx no more open files"),
        (LACKS["no memory"], "not unpacked, as this machine gives prx no more memory"),
        (LACKS["a library hides it"], "not unpacked, as this machine gives prx no more open files"),
        (ModuleNotFoundError("No module named 'brotli'", name="brotli"), "this Python cannot unpack it"),
    ],
)
def test_a_body_that_is_not_unpacked_says_why(failing: Fail, error: Exception, words: str) -> None:
    """A Python without the library is one thing, a machine without a descriptor for it another."""
    failing(error, ("brotli",))
    body, said = plain(b"packed", "br")
    assert body == b"packed"
    assert words in said
