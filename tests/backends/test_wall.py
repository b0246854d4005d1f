"""The wall between runtime and backends: what holds for every backend, and a third one that runs without a change behind it."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.backends.custom import NAME, CustomBackend, CustomSettings

import prx
from prx import backends
from prx.backends.base import Backend, EdgeSite
from prx.config.schema import CloudflareSettings, Config, TunnelSettings
from prx.core.errors import PermanentError
from prx.core.events import ChildStarted, ConfigReloaded, Event, Log, UrlChanged
from prx.core.evidence import ChildExit
from prx.core.exit_status import ExitStatus
from prx.core.status import TunnelStatus
from prx.runtime.bus import Bus
from prx.runtime.host.clock import SystemClock
from prx.runtime.supervisor import NOTHING_CAN_RUN, STOPPED_AS_ASKED, Supervisor
from prx.secrets.value import Secret

PATIENCE = 30.0  # seconds: a bound on waiting, far above what anything takes
REGISTERED = sorted(backends.FACTORIES)


@pytest.fixture(autouse=True)
def third(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the third backend; that is all that prx has to know of it."""
    monkeypatch.setitem(backends.FACTORIES, NAME, CustomBackend)


def settings(name: str, **changes: Any) -> TunnelSettings:
    """Return settings with which the backend `name` can work."""
    url = "https://app.example.com" if name == "none" else ""
    kind = CustomSettings if name == NAME else TunnelSettings
    return kind(**({"backend": name, "public_url": url} | changes))


# ------------------------------------------------------------------ what holds for every backend


@pytest.fixture(params=[*REGISTERED, NAME])
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of each backend in turn."""
    return str(request.param)


def test_a_backend_says_who_it_is(name: str) -> None:
    """Its name is the one in the configuration; it can work with sound settings; there is a first protocol, chosen or not."""
    made = backends.create(settings(name))
    made.check()
    assert made.name == name
    assert made.mode
    assert made.protocols(EdgeSite())
    assert made.lasting_name("app.example.com", EdgeSite())
    assert isinstance(made.rate_limiter(EdgeSite()), str)


def test_a_url_is_fixed_or_told_by_the_client(name: str) -> None:
    """A backend without a client knows its URL; one whose URL is temporary does not, and has a client that reports it."""
    made = backends.create(settings(name))
    assert made.client is not None or made.fixed_url(EdgeSite())
    assert not (made.url_is_temporary and made.fixed_url(EdgeSite()))
    assert made.client is not None or not made.url_is_temporary


@pytest.mark.parametrize(
    ("change", "concerns_the_child"),
    [
        ({}, False),
        ({"health_check_timeout_secs": 20}, False),
        ({"health_check_path": "/health"}, False),
        ({"local_addr": "127.0.0.1:8443"}, True),
        ({"origin_tls_verify": "true"}, True),
        ({"origin_ca": "/ca.pem"}, True),
        ({"origin_server_name": "app.test"}, True),
        ({"host_header": "app.test"}, True),
    ],
)
def test_a_reload_replaces_the_child_only_for_its_own_settings(
    name: str, change: dict[str, Any], concerns_the_child: bool
) -> None:
    """What the client is given about the service concerns it; how the tunnel is watched does not, and costs no URL."""
    old, new = backends.create(settings(name)), backends.create(settings(name, **change))
    assert new.needs_new_child(old) is concerns_the_child


def test_another_backend_needs_another_child(name: str) -> None:
    """No child serves two backends."""
    made = backends.create(settings(name))
    for other in {*REGISTERED, NAME} - {name}:
        assert made.needs_new_child(backends.create(settings(other)))


def test_the_clients_own_settings_concern_the_child() -> None:
    """A key of the client's own table is on its command line."""
    old = backends.create(settings("cloudflare"))
    new = backends.create(settings("cloudflare", cloudflare=CloudflareSettings(retries=7)))
    assert new.needs_new_child(old)


def test_a_watched_url_is_another_watch() -> None:
    """Another `public_url` begins the watch again."""
    assert backends.create(settings("none", public_url="https://b.example.com")).needs_new_child(
        backends.create(settings("none"))
    )


BODIES = [b"", b"\xff\xfe\x00", b"{", b'{"level":7,"message":null}', b"x" * 70_000, "\u202eevil".encode(), b'a=b c="d']

LINES = [body.decode(errors="replace") for body in BODIES]


def test_a_client_understands_everything_without_a_word(name: str) -> None:
    """No line, no end and no answer of an endpoint makes it raise, and it names a program."""
    client = backends.create(settings(name)).client
    if client is None:
        return
    assert client.program()[0]
    assert client.stop_grace >= 0
    for stream in ("stdout", "stderr"):
        lines = [client.parse_line(stream, line) for line in LINES]
    for end in (ExitStatus(code=0), ExitStatus(code=255), ExitStatus(signal=9), ExitStatus()):
        assert isinstance(client.classify_exit(end, lines, age=0.1), ChildExit)
    for body in BODIES:
        assert client.parse_ready(500, body) is None
        assert client.parse_url(500, body, EdgeSite()) == ""
        assert client.parse_counters(body).requests == 0
        assert isinstance(client.route_mismatch(500, body), str)


SOUND_TOKENS = {"cloudflare": {"cloudflare": CloudflareSettings(mode="named", token=Secret("nonsense"), hostname="a.test")}}
UNSOUND: dict[str, dict[str, Any]] = {**SOUND_TOKENS, "none": {"public_url": ""}, NAME: {"local_addr": "https://127.0.0.1:1"}}


def test_what_cannot_work_is_refused_before_the_start(name: str) -> None:
    """`check` says it, in words for the user; making the backend does not raise."""
    with pytest.raises(PermanentError):
        backends.create(settings(name, **UNSOUND[name])).check()


# ------------------------------------------------------------------ the third backend runs


class Running:
    """A prx with the tunnel "web" of the third backend."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.facts: list[Any] = []
        self._news = asyncio.Event()
        supervisor.bus.listen(self._see)

    def _see(self, event: Event) -> None:
        self.facts.append(event.fact)
        self._news.set()

    @property
    def status(self) -> TunnelStatus:
        """What prx says of it."""
        return next(iter(self.supervisor.statuses()), TunnelStatus("web"))

    def told(self, kind: type) -> list[Any]:
        """Return the facts of one kind."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Wait for something that events tell of."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not wanted():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pytest.fail("\n".join(map(str, self.facts)))

    async def ready(self, children: int = 1) -> None:
        """Wait until it is ready with so many children started in all."""
        await self.until(lambda: len(self.told(ChildStarted)) == children and self.status.state == "ready")


@pytest.mark.parametrize(
    ("before", "after", "overlap"),
    [
        (("named", 0), ("named", 0), True),
        (("named", 0), ("named", 8099), True),
        (("named", 8099), ("named", 8098), True),
        (("named", 8099), ("named", 0), True),
        (("named", 8099), ("named", 8099), True),
        (("quick", 0), ("named", 0), False),
        (("named", 0), ("quick", 0), False),
    ],
)
def test_connectors_overlap_unless_each_has_a_url_of_its_own(
    before: tuple[Any, int], after: tuple[Any, int], *, overlap: bool
) -> None:
    """A successor comes up beside the old connector unless one of them is quick; two that have one port share it by turns."""
    old, new = (
        backends.create(TunnelSettings(cloudflare=CloudflareSettings(mode=mode, metrics_port=port)))
        for mode, port in (before, after)
    )
    assert new.can_overlap_with(old) is overlap


@asynccontextmanager
async def running(folder: Path, **changes: Any) -> AsyncIterator[Running]:
    """Run it until the end of the block."""
    clock = SystemClock()
    environ = {"HOME": str(folder), "PRX_DATA_DIR": str(folder / "data"), "PATH": os.environ["PATH"]}
    config = Config(tunnels={"web": settings(NAME, **changes)})
    supervisor = Supervisor(
        config, clock=clock, bus=Bus(clock), data_dir=folder / "data", site=EdgeSite(local=True), environ=environ
    )
    here = Running(supervisor)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(supervisor.run(), name="supervisor")
        try:
            yield here
        finally:
            supervisor.stop()
            async with asyncio.timeout(PATIENCE):
                assert await task in {STOPPED_AS_ASKED, NOTHING_CAN_RUN}


async def test_a_third_backend_runs_under_the_supervisor(tmp_path: Path) -> None:
    """It is started, proven by its printed URL, logged under its name, restarted when it dies, and stopped."""
    async with running(tmp_path) as prx_:
        await prx_.ready()
        status = prx_.status
        assert (status.backend, status.mode, status.verdict) == (NAME, "script", "healthy")
        assert status.url.startswith("http://127.0.0.1:")
        lines = [fact.message for fact in prx_.told(Log) if fact.source == NAME]
        assert lines[:2] == ["forwarding http://127.0.0.1:8080", "up"]
        os.kill(prx_.told(ChildStarted)[0].pid, signal.SIGKILL)
        await prx_.ready(children=2)
        assert [fact.old for fact in prx_.told(UrlChanged)] == ["", status.url]
        pid = prx_.told(ChildStarted)[1].pid
    assert not Path(f"/proc/{pid}").exists()


async def test_a_third_backend_is_reloaded(tmp_path: Path) -> None:
    """Its child outlives what does not concern it, and is replaced for what does."""
    async with running(tmp_path) as prx_:
        await prx_.ready()
        prx_.supervisor.reload(Config(tunnels={"web": settings(NAME, health_check_path="/health")}))
        await prx_.until(lambda: len(prx_.told(ConfigReloaded)) == 1)
        prx_.supervisor.reload(Config(tunnels={"web": settings(NAME, local_addr="127.0.0.1:9")}))
        await prx_.ready(children=2)
    assert [fact.restarted for fact in prx_.told(ConfigReloaded)] == [False, True]


@pytest.mark.parametrize("part", ["parse_line", "announced_url"])
async def test_a_defect_in_reading_lines_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """A mistake in a backend is an error in the log, one for each run, however many lines meet it."""

    def broken(*_: object) -> None:
        raise LookupError("a mistake")

    monkeypatch.setattr(CustomBackend, part, broken)
    async with running(tmp_path) as prx_:
        await prx_.until(lambda: any(fact.level == "error" for fact in prx_.told(Log)))
        prx_.supervisor.restart()
        await prx_.until(lambda: sum(fact.level == "error" for fact in prx_.told(Log)) >= 2)
    errors = [fact.message for fact in prx_.told(Log) if fact.level == "error"]
    assert len(errors) == len(prx_.told(ChildStarted)) == 2
    assert all("LookupError: a mistake" in error for error in errors)


async def test_a_third_backend_without_its_program_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not there is the user's to repair, with the hint that the client gives."""
    monkeypatch.setitem(backends.FACTORIES, NAME, lambda given: CustomBackend(given, "no-such-client"))
    async with running(tmp_path) as prx_:
        await prx_.until(lambda: prx_.status.state == "failed")
        assert (prx_.status.verdict, prx_.status.hint) == ("misconfigured", "write the script first")
        assert "no-such-client" in prx_.status.reason


async def test_a_third_backend_that_cannot_work_is_not_started(tmp_path: Path) -> None:
    """`check` is asked before anything is spawned."""
    async with running(tmp_path, local_addr="https://127.0.0.1:1") as prx_:
        await prx_.until(lambda: prx_.status.state == "failed")
        assert prx_.status.reason == "the script speaks plain HTTP"
        assert prx_.told(ChildStarted) == []


# ------------------------------------------------------------------ nothing behind the wall names a backend

ROOMS = ("runtime", "app/session.py", "app/running_config.py")
# These probe Cloudflare's public side, whatever keeps the tunnel up: its resolvers, its Access, its error pages, its edge.
ABOUT_CLOUDFLARE = {"access.py", "addresses.py", "edge.py", "error_pages.py", "exposure.py", "public.py", "head.py", "http.py"}
ABOUT_CLOUDFLARE |= {"newest_rules.py"}  # asks Cloudflare's account about a mismatch that a backend has found
MODES = {"named", "quick", "none", "builtin"}


def sources() -> Iterator[Path]:
    """Return the files behind the wall."""
    for room in ROOMS:
        place = Path(prx.__file__).parent / room
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def texts_of(tree: ast.AST) -> Iterator[str]:
    """Return the texts in the code, without docstrings."""
    docs = {id(node.body[0].value) for node in ast.walk(tree) if _has_docstring(node)}  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def names_of(tree: ast.AST) -> Iterator[str]:
    """Return the attributes and imports in the code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.alias):
            yield node.name


def _has_docstring(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None


def found_in(text: str) -> set[str]:
    """Return the words in a source that name a backend or one of its modes."""
    tree = ast.parse(text)
    texts = set(texts_of(tree))
    words = {word for word in texts | set(names_of(tree)) if "cloudflare" in word.lower()}
    return (words | (texts & MODES)) - {"CLOUDFLARE", "by_cloudflare"}  # the edge by default; a fact about an answer


def test_the_runtime_names_no_backend() -> None:
    """What a backend is like is asked of the backend; the search would find a name."""
    seen = {
        str(path): found for path in sources() if path.name not in ABOUT_CLOUDFLARE and (found := found_in(path.read_text()))
    }
    assert seen == {}
    assert found_in('if backend.mode == "named": settings.cloudflare.protocol') == {"named", "cloudflare"}
    assert found_in("from prx.backends.cloudflare import x") == {"prx.backends.cloudflare"}


def test_backends_are_small_where_they_have_nothing() -> None:
    """A backend without a client has no word about clients."""
    assert not hasattr(backends.create(settings("none")), "parse_line")
    assert Backend.client.__get__(backends.create(settings("none"))) is None
