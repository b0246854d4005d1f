"""The connector's answers about itself through the lab's management host: this one's and the real one's."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.lab.connector.bench import BUILTIN_ONLY
from tests.lab.connector.child import started
from tests.lab.edge.conftest import events, lab, limits  # noqa: F401 - fixtures
from tests.support.wire import Reply, get
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from prx.lab import Lab
from prx.lab.connector.log import Entry, Level, Log, utc_now
from prx.lab.connector.management.log_stream import FilterError, Filters, LogStreams, Session, as_document
from prx.lab.connector.management.service import actor_of
from prx.lab.edge.public.management import HOST


@pytest.fixture
def words(lab: Lab, protocol: str, tmp_path: Path) -> list[str]:  # noqa: F811 - a fixture
    """Return the command line of a connector that serves the built-in page, up to what a test adds."""
    (tmp_path / "token").write_text(lab.token("web"))
    (tmp_path / "config.yml").write_text("{}")
    edges = [word for address in lab.edge_addrs for word in ("--edge", address)]
    own = ["--cacert", str(lab.ca_file), "--metrics", "127.0.0.1:0", "--ha-connections", "1", "--protocol", protocol]
    return ["tunnel", "--no-autoupdate", "--no-prechecks", "--config", str(tmp_path / "config.yml"), *edges, *own]


@asynccontextmanager
async def running(lab: Lab, words: Sequence[str], home: Path, command: Sequence[str]) -> AsyncIterator[None]:  # noqa: F811
    """Run a connector until the block ends."""
    rest = ["run", "--token-file", str(home / "token"), "--hello-world"]
    async with asyncio.timeout(60), started([*words, *rest], home, command=command) as child:
        await child.line("Registered tunnel connection")
        yield


async def ask(lab: Lab, path: str, resource: str) -> Reply:  # noqa: F811
    """Ask the management host."""
    return await get(lab, HOST, f"{path}?access_token={lab.management_token('web', resource)}")


@asynccontextmanager
async def stream(lab: Lab) -> AsyncIterator[ClientConnection]:  # noqa: F811
    """Open a stream of log lines."""
    uri = f"ws://{HOST}:{urlsplit(lab.public).port}/logs?access_token={lab.management_token('web')}"
    async with connect(uri, host="127.0.0.1", compression=None, proxy=None) as socket:
        yield socket


async def start(socket: ClientConnection, **filters: object) -> None:
    """Ask for lines, and wait until the connector has read that: a ping is answered after it."""
    await socket.send(json.dumps({"type": "start_streaming", "filters": filters}))
    await (await socket.ping())


async def test_host_details(lab: Lab, words: list[str], tmp_path: Path, command: Sequence[str]) -> None:  # noqa: F811
    """A connector says which it is, by its label, and from which address it comes; it answers a ping."""
    async with running(lab, [*words, "--label", "blue"], tmp_path, command):
        details = json.loads((await ask(lab, "/host_details", "host_details")).body)
        (connection,) = lab.tunnel("web").connections
        assert (details["connector_id"], details["hostname"]) == (connection.connector, "custom:blue")
        assert details["ip"]
        assert (await ask(lab, "/ping", "logs")).status == 200


@pytest.mark.parametrize(("flags", "status"), [((), 200), (("--management-diagnostics=false",), 404)])
async def test_metrics(
    lab: Lab,  # noqa: F811
    words: list[str],
    tmp_path: Path,
    command: Sequence[str],
    flags: tuple[str, ...],
    status: int,
) -> None:
    """The metrics can be had through the management host, unless the operator does not want that."""
    async with running(lab, [*words, *flags], tmp_path, command):
        reply = await ask(lab, "/metrics", "admin")
        assert reply.status == status
        assert (b"# HELP build_info Build and version information" in reply.body) == (status == 200)


async def test_lines_of_requests(lab: Lab, words: list[str], tmp_path: Path, command: Sequence[str]) -> None:  # noqa: F811
    """Lines about requests arrive though the log itself leaves them out; the events that are asked for, and no others."""
    async with running(lab, words, tmp_path, command), stream(lab) as socket:
        await start(socket, events=["tcp"])
        assert (await get(lab, "web.localhost", "/unseen")).status == 200
        await socket.send('{"type": "stop_streaming"}')
        await start(socket, events=["http"])
        assert (await get(lab, "web.localhost", "/seen")).status == 200
        message = json.loads(await socket.recv())
        assert (message["type"], message["logs"][0]["event"], "level" in message["logs"][0]) == ("logs", "http", False)
        assert "/unseen" not in json.dumps(message)
        while "/seen" not in json.dumps(message):
            message = json.loads(await socket.recv())


async def test_one_stream_for_an_actor(lab: Lab, words: list[str], tmp_path: Path, command: Sequence[str]) -> None:  # noqa: F811
    """A second stream of the same actor ends the first."""
    async with running(lab, words, tmp_path, command), stream(lab) as first:
        await start(first)
        async with stream(lab) as second:
            await start(second)
            with suppress(ConnectionClosedError):
                async for _ in first:
                    pass
            assert first.close_code in {1006, 1011}  # the real client does not always say good-bye
            assert (await get(lab, "web.localhost", "/seen")).status == 200
            while "/seen" not in str(await second.recv()):
                pass


@pytest.mark.parametrize("message", ['{"type":"stop"}', '{"filters":{}}', "[]", "no JSON"])
@BUILTIN_ONLY
async def test_what_is_no_command(
    lab: Lab,  # noqa: F811
    words: list[str],
    tmp_path: Path,
    command: Sequence[str],
    message: str,
) -> None:
    """What is no command ends the stream with a code that says so."""
    async with running(lab, words, tmp_path, command), stream(lab) as socket:
        await socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4001


@pytest.mark.parametrize(
    "value",
    [[], {"events": ["dns"]}, {"events": "http"}, {"level": "loud"}, {"sampling": 2}, {"sampling": -0.5}, {"sampling": "all"}],
)
def test_filters_that_cannot_be_had(value: object) -> None:
    """A filter that is not known is refused, and not taken for none."""
    with pytest.raises(FilterError):
        Filters.read(value)


def test_what_filters_admit() -> None:
    """A line is sent if its event, its level and chance allow it."""
    line = Entry(utc_now(), Level.INFO, "GET /", {"event": 1, "connIndex": 0})
    for value, admitted in [
        ({}, True),
        ({"events": ["http", "udp"]}, True),
        ({"events": ["cloudflared"]}, False),
        ({"level": "warn"}, False),
        ({"level": "debug", "sampling": 0.5}, True),
        ({"sampling": 0.3}, False),
    ]:
        assert Filters.read(value).admit(line, lambda: 0.4) is admitted, value
    assert {**as_document(line), "time": ""} == {
        "time": "", "level": "info", "message": "GET /", "event": "http", "fields": {"connIndex": 0},
    }  # fmt: skip
    quiet = as_document(Entry(utc_now(), Level.DEBUG, "x", {}))
    assert {**quiet, "time": ""} == {"time": "", "message": "x", "fields": {}}


def test_who_may_stream() -> None:
    """One actor streams at a time: a session of another is refused, and admitted when the first has stopped."""
    streams = LogStreams(Log(sink=lambda _: None))
    first, other = (Session(streams, actor, None, None) for actor in ("a", "b"))  # type: ignore[arg-type]  # no bytes flow
    assert streams.start(first, Filters())
    assert not streams.start(other, Filters())
    streams.stop(other)
    assert not streams.start(other, Filters())
    streams.stop(first)
    assert streams.start(other, Filters())


@pytest.mark.parametrize(
    ("token", "actor"),
    [
        ("a.eyJhY3RvciI6eyJpZCI6Im1lIn19.c", "me"),
        ("a.e30.c", ""),
        ("a.W10.c", ""),
        ("", None),
        ("a.b", None),
        ("a.####.c", None),
        ("a.bm8.c", None),
    ],
)
def test_actor_of_a_token(token: str, actor: str | None) -> None:
    """The actor is read from a token, and what is no token is said to be none."""
    assert actor_of(token) == actor


def test_a_log_that_is_listened_to() -> None:
    """A listener gets every line, and the log itself goes on as it was set."""
    lines: list[str] = []
    heard: list[str] = []
    log = Log(level=Level.WARN, sink=lines.append)

    @contextmanager
    def listening() -> Iterator[None]:
        with log.listened(lambda entry: heard.append(entry.message)):
            yield

    with listening():
        assert log.enabled(Level.DEBUG)
        log.debug("small")
        log.error("big")
    log.debug("unheard")
    assert not log.enabled(Level.DEBUG)
    assert (heard, len(lines)) == (["small", "big"], 1)
