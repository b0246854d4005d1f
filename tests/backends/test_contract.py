"""What prx relies on in a client, held against all that take its place: the scripted fake, the builtin connector, cloudflared.

Each test starts the client with what `CloudflareBackend.launch` returns and reads it with the backend's own functions, so that
command line, parsers and clients are proven together. No edge is needed: the addresses refuse. The real client is the one named
by PRX_TEST_CLOUDFLARED.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import visitor
from tests.support.child import Child, running
from tests.support.waits import PATIENCE, free_port

from prx.backends.base import EdgeSite, LaunchContext, LineKind, LogLine
from prx.backends.cloudflare import CloudflareBackend
from prx.backends.cloudflare.version import OLDEST, Version
from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core.evidence import ChildExit, ExitCause
from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch
from prx.secrets.value import Secret
from prx.testing.fake_cloudflared.scripted import write_fake

REAL = os.environ.get("PRX_TEST_CLOUDFLARED", "")
ORIGIN = "127.0.0.1:9"
TUNNEL_ID = "0a1b2c3d-0000-4000-8000-00000000beef"
_PARTS = {"a": "0123456789abcdef", "t": TUNNEL_ID, "s": base64.b64encode(bytes(32)).decode()}
TOKEN = base64.b64encode(json.dumps(_PARTS).encode()).decode()

CLIENTS = [
    "fake",
    "builtin",
    pytest.param(
        "real", marks=[pytest.mark.real, pytest.mark.skipif(not REAL, reason="PRX_TEST_CLOUDFLARED names no cloudflared")]
    ),
]


@pytest.fixture(params=CLIENTS)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    """Return the argv prefix of each client in turn."""
    match request.param:
        case "fake":
            return (str(write_fake(tmp_path / "cloudflared", {"connections": 0})),)
        case "builtin":
            return (sys.executable, "-m", "prx.lab.connector")
    return (REAL,)


def backend(mode: str) -> CloudflareBackend:
    """Return the backend of a quick or named tunnel to a service that does not exist."""
    named = CloudflareSettings(mode="named", token=Secret(TOKEN), hostname="app.example.com", grace_period_secs=1)
    quick = CloudflareSettings(mode="quick", grace_period_secs=1)
    return CloudflareBackend(TunnelSettings(local_addr=ORIGIN, cloudflare=named if mode == "named" else quick))


class Prepared:
    """What the runtime would prepare, in a folder of the test's own."""

    def __init__(self, program: tuple[str, ...], folder: Path) -> None:
        self.program = program
        self.home = folder / "home"
        self.home.mkdir()
        self.config_file = folder / "empty.yml"
        self.config_file.write_text("{}\n", encoding="utf-8")
        self.metrics_port = free_port()

    def context(self, *, quick_service: str = "", inherited: dict[str, str] | None = None) -> LaunchContext:
        edge = f"127.0.0.1:{free_port()}"
        environment = {"PATH": os.environ["PATH"], **(inherited or {})}
        site = EdgeSite((edge, edge), quick_service=quick_service, local=True)
        return LaunchContext(
            self.program, "2026.8.2", self.metrics_port, self.config_file, self.home, "http2", site, environment
        )


@pytest.fixture
def prepared(program: tuple[str, ...], tmp_path: Path) -> Prepared:
    """Return what one start needs."""
    return Prepared(program, tmp_path)


class Client(Child):
    """A started client, read through the backend."""

    def __init__(self, process: asyncio.subprocess.Process, given: CloudflareBackend, port: int) -> None:
        super().__init__(process)
        self.backend = given
        self.port = port
        self.understood: list[LogLine] = []

    def take(self, stream: str, line: bytes) -> None:
        super().take(stream, line)
        self.understood.append(self.backend.parse_line(stream, line.decode(errors="replace").rstrip("\r\n")))

    async def kind(self, kind: LineKind) -> LogLine:
        """Return the first line of this kind, as soon as it is there."""
        return await self.wait(lambda: next((line for line in self.understood if line.kind is kind), None), str(kind))

    async def get(self, path: str) -> tuple[int, bytes]:
        """Ask its metrics server."""
        answer = await visitor.get(f"http://127.0.0.1:{self.port}{path}")
        return answer.status_code, answer.content


@asynccontextmanager
async def started(given: CloudflareBackend, launch: Launch, port: int = 0) -> AsyncIterator[Client]:
    """Start a client as the runtime does: own session, null stdin, the secret in a pipe; end it in any case."""
    secret, fds = "", []
    if launch.secret is not None:
        reader, writer = os.pipe()
        os.write(writer, launch.secret)
        os.close(writer)
        secret, fds = f"/proc/self/fd/{reader}", [reader]
    client = running(
        launch.arguments(secret),
        lambda process: Client(process, given, port),
        env=launch.env,
        cwd=launch.cwd,
        pass_fds=fds,
        start_new_session=True,
    )
    async with client as child:
        for fd in fds:
            os.close(fd)
        yield child


async def run_to_end(given: CloudflareBackend, launch: Launch) -> tuple[ChildExit, list[LogLine]]:
    """Run a client that ends by itself; return what the backend makes of it."""
    async with asyncio.timeout(PATIENCE):
        async with started(given, launch) as child:
            await child.process.wait()
        code = child.process.returncode
    assert code is not None
    end = ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code)
    return given.classify_exit(end, child.understood, age=1.0), child.understood


@asynccontextmanager
async def quick_service(status: str, body: str) -> AsyncIterator[str]:
    """Answer every request for a quick tunnel like this; give the service's URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def tunnel_json(hostname: str) -> str:
    """Return the quick service's answer with a tunnel in it."""
    result = {"id": TUNNEL_ID, "name": "", "hostname": hostname, "account_tag": "a", "secret": _PARTS["s"]}
    return json.dumps({"success": True, "result": result, "errors": []})


async def test_it_says_its_version(program: tuple[str, ...]) -> None:
    """`version` prints one line with a release that prx can run."""
    process = await asyncio.create_subprocess_exec(*program, "version", stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    version = Version.parse(output.decode())
    assert process.returncode == 0
    assert output.startswith(b"cloudflared version ")
    assert version is not None
    assert version >= OLDEST


@pytest.mark.parametrize("place", [2, -2])
async def test_an_unknown_flag_is_usage_text_and_code_0(prepared: Prepared, place: int) -> None:
    """On either side of `run` it is named on stdout, and the end is a wrong command line, not a clean one."""
    given = backend("named")
    launch = given.launch(prepared.context())
    argv = list(launch.argv)
    argv.insert(len(prepared.program) + 1 if place == 2 else argv.index("run") + 1, "--bogus")
    end, lines = await run_to_end(given, replace(launch, argv=tuple(argv)))
    assert (end.code, end.cause) == (0, ExitCause.CONFIG)
    assert "-bogus" in end.detail
    assert {line.kind for line in lines} == {LineKind.USAGE}


async def test_a_tunnel_flag_after_run_is_refused(prepared: Prepared) -> None:
    """The side of `run` matters, which is why the command line is built in one place."""
    given = backend("named")
    launch = given.launch(prepared.context())
    end, _ = await run_to_end(given, replace(launch, argv=(*launch.argv, "--metrics", "127.0.0.1:0")))
    assert (end.code, end.cause) == (0, ExitCause.CONFIG)
    assert "-metrics" in end.detail


@pytest.mark.parametrize("token", [b"garbage", TOKEN.rstrip("=").encode()[:-3], base64.b64encode(b"no json"), b"{}"])
async def test_a_malformed_token_is_code_255(prepared: Prepared, token: bytes) -> None:
    """The client refuses what prx would have refused before it."""
    given = backend("named")
    end, _ = await run_to_end(given, replace(given.launch(prepared.context()), secret=token))
    assert (end.code, end.cause) == (255, ExitCause.AUTH)
    assert "malformed" in end.detail


async def test_an_empty_token_is_code_255(prepared: Prepared) -> None:
    """A missing token is distinguished from a malformed one."""
    given = backend("named")
    end, _ = await run_to_end(given, replace(given.launch(prepared.context()), secret=b"\n"))
    assert (end.code, end.cause) == (255, ExitCause.AUTH)
    assert "empty" in end.detail


async def test_a_missing_token_file_is_code_255(prepared: Prepared) -> None:
    """A path that leads nowhere is a configuration fault, not a bad token."""
    given = backend("named")
    launch = given.launch(prepared.context())
    end, _ = await run_to_end(given, Launch(launch.arguments("/nonexistent/token"), launch.env, cwd=launch.cwd))
    assert (end.code, end.cause) == (255, ExitCause.CONFIG)
    assert "no such file" in end.detail


async def test_a_busy_metrics_port_is_told(prepared: Prepared) -> None:
    """The port that prx drew may be taken meanwhile: then another is drawn, and nothing else is wrong."""
    given = backend("named")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        prepared.metrics_port = taken.getsockname()[1]
        end, _ = await run_to_end(given, given.launch(prepared.context()))
    assert (end.code, end.cause) == (1, ExitCause.PORT_TAKEN)
    assert f"127.0.0.1:{prepared.metrics_port}" in end.detail


@pytest.mark.parametrize(
    ("status", "body", "cause", "words"),
    [
        ("429 Too Many Requests", "error code: 1015", ExitCause.RATE_LIMITED, r"\(429\)"),
        (
            "429 Too Many Requests",
            '{"success":false,"errors":[{"code":1,"message":"m"}]}',
            ExitCause.RATE_LIMITED,
            r"does not say why|\(429\)",  # before and since 2026.9.3
        ),
        ("403 Forbidden", "<html>blocked</html>", ExitCause.REFUSED_QUICK, "no tunnel for this network or address"),
        ("200 OK", "<html>oops</html>", ExitCause.CRASH, "no tunnel"),
        ("500 Internal Server Error", "<html>oops</html>", ExitCause.CRASH, "answered 500"),
        ("200 OK", '{"success":true,"result":{"id":"zz"}}', ExitCause.CRASH, "no tunnel"),
    ],
)
async def test_a_quick_service_that_gives_no_tunnel(
    prepared: Prepared, status: str, body: str, cause: ExitCause, words: str
) -> None:
    """Too many requests are a long wait; anything else that is no tunnel is a failed start."""
    given = backend("quick")
    async with quick_service(status, body) as url:
        end, lines = await run_to_end(given, given.launch(prepared.context(quick_service=url)))
    assert (end.code, end.cause) == (1, cause)
    assert re.search(words, end.detail)
    assert any(line.kind is LineKind.QUICK_FAILED for line in lines)


async def test_a_quick_service_that_refuses(prepared: Prepared) -> None:
    """A program that is not there is a failed start, in plain words."""
    given = backend("quick")
    end, _ = await run_to_end(given, given.launch(prepared.context(quick_service=f"http://127.0.0.1:{free_port()}")))
    assert (end.code, end.cause, end.detail) == (1, ExitCause.CRASH, "the quick-tunnel service refuses connections")


async def test_a_quick_tunnel_names_itself_on_its_own_endpoint(prepared: Prepared) -> None:
    """`/quicktunnel` and the box in the log name the same host, before any connection."""
    given = backend("quick")
    async with (
        quick_service("200 OK", tunnel_json("calm-lake-hill.trycloudflare.com")) as url,
        started(given, given.launch(prepared.context(quick_service=url)), prepared.metrics_port) as child,
    ):
        shown = await child.kind(LineKind.QUICK_URL)
        await child.kind(LineKind.METRICS_UP)
        answer = await child.get("/quicktunnel")
    assert given.parse_url(*answer, EdgeSite()) == "https://calm-lake-hill.trycloudflare.com"
    assert given.announced_url(shown, EdgeSite()) == "https://calm-lake-hill.trycloudflare.com"
    assert shown.fields["url"] == "https://calm-lake-hill.trycloudflare.com"


async def test_a_named_tunnel_without_an_edge_is_alive_and_not_ready(prepared: Prepared) -> None:
    """`/ready` is 503 with no connection, there is no quick name, the counters are 0, and SIGTERM ends it with 0."""
    given = backend("named")
    async with started(given, given.launch(prepared.context()), prepared.metrics_port) as child:
        await child.kind(LineKind.METRICS_UP)
        protocol = await child.kind(LineKind.PROTOCOL)
        status, body = await child.get("/ready")
        ready = given.parse_ready(status, body)
        assert status == 503
        assert ready is not None
        assert ready.ready == 0
        assert len(ready.connector_id) == 36
        assert given.parse_url(*await child.get("/quicktunnel"), EdgeSite()) == ""
        assert given.parse_counters((await child.get("/metrics"))[1]).registered == 0
        assert given.route_mismatch(*await child.get("/config")) == ""
        child.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await child.process.wait() == 0
    assert protocol.protocol == "http2"


async def test_nothing_in_the_surroundings_leads_it_elsewhere(prepared: Prepared) -> None:
    """A stray configuration at home and inherited variables change nothing about where requests go."""
    stray = prepared.home / ".cloudflared"
    stray.mkdir()
    (stray / "config.yml").write_text("ingress:\n  - service: http_status:418\n", encoding="utf-8")
    inherited = {
        "TUNNEL_URL": "http://127.0.0.1:7",
        "TUNNEL_METRICS": f"127.0.0.1:{free_port()}",
        "TUNNEL_TOKEN": "garbage",
        "TUNNEL_LOG_OUTPUT": "default",
        "LISTEN_FDS": "1",
        "NOTIFY_SOCKET": "/nowhere",
    }
    given = backend("named")
    async with started(given, given.launch(prepared.context(inherited=inherited)), prepared.metrics_port) as child:
        await child.kind(LineKind.METRICS_UP)
        _, body = await child.get("/config")
    rules = json.loads(body)["config"]["ingress"]
    assert [rule["service"] for rule in rules] == [f"http://{ORIGIN}"]


async def test_the_token_is_on_no_command_line_and_in_no_log(prepared: Prepared) -> None:
    """While it runs, neither its arguments nor its environment nor its output hold any part of the token."""
    given = backend("named")
    async with started(given, given.launch(prepared.context()), prepared.metrics_port) as child:
        await child.kind(LineKind.METRICS_UP)
        seen = b"".join(Path(f"/proc/{child.process.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        said = repr(child.understood)
    for secret in given.secrets:
        assert secret[:16].encode() not in seen
        assert secret[:16] not in said
