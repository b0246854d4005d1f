"""Start, loss, refusal and end of connections, with this connector and with the real one where it is quick enough."""

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from uuid import uuid4

import pytest
from tests.lab.connector.bench import BUILTIN_ONLY, HTTP2_ONLY, Bench
from tests.lab.connector.child import BUILTIN, TUNNEL_ID, Child, ask, environment, started
from tests.support.waits import PATIENCE

from prx.lab.protocol.errors import SessionClosedError
from prx.lab.protocol.rpc.registration import Registered, RegisterRequest, Rejected


async def ready(child: Child) -> tuple[int, dict[str, object]]:
    """Ask /ready of a connector's metrics server."""
    reply = await ask(child, "/ready")
    return reply.status_code, reply.json()


async def test_four_connections(bench: Bench) -> None:
    """Connections come up in order, say who they are, show as ready, and leave in order on SIGINT."""
    async with bench.started(connections=4) as child:
        await child.line(f"INF Starting tunnel tunnelID={TUNNEL_ID}")
        await bench.up(child, 4)
        for index in range(4):
            line = await child.line("INF Registered tunnel connection", f"connIndex={index} ")
            assert line.endswith(f" event=0 ip=127.0.0.1 location=test01 protocol={bench.edge.protocol}")
        status, body = await ready(child)
        assert (status, body["status"], body["readyConnections"]) == (200, 200, 4)
        assert [request.conn_index for request in bench.edge.registrations] == [0, 1, 2, 3]
        first = bench.edge.registrations[0]
        assert (first.account_tag, first.tunnel_id, first.tunnel_secret) == ("account", TUNNEL_ID, b"secret" * 5)
        assert str(first.client_id) == body["connectorId"]
        assert "allow_remote_config" in first.features
        assert json.loads(await bench.edge.told()) == {
            "__configuration_flags": json.loads(await bench.edge.told())["__configuration_flags"],
            "ingress": [{"service": bench.origin.url, "originRequest": {}}],
            "warp-routing": {},
        }
        child.send(signal.SIGINT)
        await child.line("INF Initiating graceful shutdown due to signal interrupt ...")
        assert await child.exit_code() == 0


async def test_local_flags(bench: Bench) -> None:
    """The flags that are sent to the edge are the same for both connectors."""
    async with bench.started() as child:
        await bench.up(child, 1)
        flags = json.loads(await bench.edge.told())["__configuration_flags"]
    assert flags == {"metrics": "127.0.0.1:0", "no-autoupdate": "true", "protocol": bench.edge.protocol}


@BUILTIN_ONLY
@HTTP2_ONLY
async def test_remotely_managed(bench: Bench) -> None:
    """A tunnel whose configuration the edge holds does not send its own."""
    bench.edge.remotely_managed = True
    async with bench.started() as child:
        await bench.up(child, 1)
        assert (await bench.edge.fetch("/status/200")).status == 200
        assert bench.edge.connections[0].local_config == b""


async def test_a_lost_connection(bench: Bench) -> None:
    """A connection that breaks is reported and retried; the other one goes on serving."""
    async with bench.started(connections=2) as child:
        await bench.up(child, 2)
        bench.edge.kill(1)
        # The real connector words the cause in more ways than one, as its own tasks happen to run.
        await child.line("WRN Serve tunnel error error=", "connIndex=1 event=0 ip=127.0.0.1")
        await child.line("INF Retrying connection in up to 1s connIndex=1 event=0 ip=127.0.0.1")
        await child.line("WRN Connection terminated error=", "connIndex=1")
        assert (await bench.edge.fetch("/status/200")).status == 200


@BUILTIN_ONLY
@HTTP2_ONLY
async def test_words_of_a_loss(bench: Bench) -> None:
    """This connector words a loss the usual way of the real one."""
    async with bench.started(connections=2) as child:
        await bench.up(child, 2)
        bench.edge.kill(1)
        await child.line("INF Lost connection with the edge connIndex=1")
        await child.line('WRN Serve tunnel error error="connection with edge closed" connIndex=1 event=0 ip=127.0.0.1')
        await child.line('WRN Connection terminated error="connection with edge closed" connIndex=1')


async def test_all_lost(bench: Bench) -> None:
    """Without any connection the connector says so at once, in /ready and by the level of its lines."""
    async with bench.started() as child:
        await bench.up(child)
        bench.edge.policy = lambda _: None
        bench.edge.kill(0)
        if bench.edge.protocol == "http2":
            await child.line("ERR Connection terminated error=", "connIndex=0")
        else:  # connection 0 goes on by itself
            await child.line("INF Retrying connection in up to 1s connIndex=0")
        status, body = await ready(child)
        assert (status, body["readyConnections"]) == (503, 0)


@BUILTIN_ONLY
@HTTP2_ONLY
@pytest.mark.parametrize("count", [1, 4])
async def test_edge_unreachable(bench: Bench, count: int) -> None:
    """An edge that refuses is tried again with growing waits, from one address too, and a stop ends that at once."""
    edges = ["--edge", "127.0.0.1:1"] * count
    words = [
        "tunnel",
        *edges,
        "--config",
        str(bench.config),
        "--metrics",
        "127.0.0.1:0",
        "run",
        "--token-file",
        str(bench.token),
    ]
    async with started(words, bench.home) as child:
        cause = 'error="DialContext error: dial tcp 127.0.0.1:1: connect: connection refused" connIndex=0 event=0 ip=127.0.0.1'
        await child.line(f"ERR Unable to establish connection with Cloudflare edge {cause}")
        await child.line(f"ERR Serve tunnel error {cause}")
        await child.line("INF Retrying connection in up to 2s connIndex=0")
        await child.line("INF Retrying connection in up to 4s connIndex=0")
        child.send(signal.SIGTERM)
        assert await child.exit_code() == 0
        await child.line("INF Metrics server stopped")


async def test_untrusted_edge(bench: Bench) -> None:
    """An edge with a certificate of another authority is refused, and said to be."""
    other = bench.home / "other"
    other.mkdir()
    bench.edge.ca = type(bench.edge)(other).ca
    async with bench.started() as child:
        cause = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        if bench.edge.protocol == "http2":
            await child.line(f"TLS handshake with edge error: {cause}")
        else:
            await child.line("ERR Failed to dial a quic connection", f"with quic: CRYPTO_ERROR 0x12a (local): {cause}")


@HTTP2_ONLY
async def test_first_refusal_is_final(bench: Bench) -> None:
    """A tunnel that the edge refuses from the first ends the process with 1 and the edge's words."""
    bench.edge.policy = lambda _: Rejected("tunnel is gone")
    code, _, err = await bench.run()
    assert code == 1
    assert 'ERR failed to serve incoming request error="tunnel is gone"' in err
    assert 'ERR Register tunnel error from server side error="tunnel is gone" connIndex=0' in err
    assert 'ERR initial tunnel connection failed error="tunnel is gone"' in err
    assert 'ERR Initiating shutdown error="tunnel is gone"' in err
    assert err.splitlines()[-1] == "tunnel is gone"


@HTTP2_ONLY
async def test_unauthorized_is_retried(bench: Bench) -> None:
    """A refusal that says Unauthorized may pass, so it is tried again."""

    def policy(_: RegisterRequest) -> Registered | Rejected:
        first = len(bench.edge.registrations) == 1
        return Rejected("Unauthorized: Invalid tunnel secret") if first else Registered(uuid4(), "test01")

    bench.edge.policy = policy
    async with bench.started() as child:
        await child.line('ERR Register tunnel error from server side error="Unauthorized: Invalid tunnel secret" connIndex=0')
        await child.line("INF Retrying connection in up to 2s")
        await bench.up(child, 1)


@HTTP2_ONLY
async def test_duplicate_goes_elsewhere(bench: Bench) -> None:
    """An edge that has the connection already is left for another."""
    bench.edge.policy = lambda _: Rejected("EDUPCONN") if len(bench.edge.registrations) == 1 else Registered(uuid4(), "test01")
    async with bench.started() as child:
        await child.line('ERR Unable to establish connection. error="already connected to this server, trying another address"')
        await bench.up(child, 1)


@BUILTIN_ONLY
@HTTP2_ONLY
async def test_refusal_with_the_socket_left_open(bench: Bench) -> None:
    """An edge that refuses and stays does not hold this connector forever (it does hold the real one)."""
    bench.edge.policy = lambda _: Rejected("tunnel is gone")
    bench.edge.close_after_refusal = False
    code, _, _ = await bench.run()
    assert code == 1


@HTTP2_ONLY
async def test_registration_without_an_answer(bench: Bench) -> None:
    """An edge that never answers a registration is given up after the limit."""
    bench.edge.policy = lambda _: None
    async with bench.started("--rpc-timeout", "200ms") as child:
        await child.line('ERR failed to serve incoming request error="context deadline exceeded"')


async def test_grace_period_ends(bench: Bench, command: Sequence[str]) -> None:
    """A request that outlasts the grace period is cut off, and the exit code is 0 all the same."""
    async with bench.started("--grace-period", "300ms") as child:
        await bench.up(child, 1)
        async with asyncio.timeout(PATIENCE):
            stream = await bench.edge.open("GET", "/slow", end=True)
            await bench.origin.reached.wait()
            child.send(signal.SIGTERM)
            try:
                outer = dict(await stream.response())
            except SessionClosedError:  # the real one says nothing over QUIC, and over HTTP/2 its end may be faster
                assert bench.edge.protocol == "quic" or command != BUILTIN
            else:
                assert outer[b":status"] == b"502"
                await child.line('ERR  error="Incoming request ended abruptly: context canceled" connIndex=0 event=1')
        assert await child.exit_code() == 0


async def test_edge_lingers(bench: Bench) -> None:
    """An edge that never closes is waited for until the grace period ends, with /ready at 503."""
    bench.edge.linger = True
    async with bench.started("--grace-period", "700ms") as child:
        await bench.up(child, 1)
        child.send(signal.SIGTERM)
        await child.line("INF Unregistered tunnel connection connIndex=0 event=0 ip=127.0.0.1")
        assert (await ready(child))[0] == 503
        assert await child.exit_code() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_kills(bench: Bench, number: signal.Signals) -> None:
    """The second signal ends the process by that signal."""
    bench.edge.linger = True
    async with bench.started() as child:
        await bench.up(child, 1)
        child.send(signal.SIGTERM)
        await child.line("INF Unregistered tunnel connection")
        child.send(number)
        assert await child.exit_code() == -number


@HTTP2_ONLY
async def test_hangup_kills(bench: Bench) -> None:
    """SIGHUP ends the process by that signal."""
    async with bench.started() as child:
        await bench.up(child, 1)
        child.send(signal.SIGHUP)
        assert await child.exit_code() == -signal.SIGHUP


@HTTP2_ONLY
async def test_reader_of_stderr_gone(bench: Bench) -> None:
    """A connector whose stderr is closed at the other end dies of SIGPIPE with its next line."""
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        *bench.command, *bench.arguments(), env=environment(bench.home), stdin=asyncio.subprocess.DEVNULL, stderr=writing
    )
    os.close(writing)
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == -signal.SIGPIPE


@BUILTIN_ONLY
@HTTP2_ONLY
async def test_pidfile(bench: Bench) -> None:
    """The process id is written once the first connection is up."""
    path = bench.home / "pid"
    async with bench.started("--pidfile", str(path)) as child:
        await bench.up(child, 1)
        assert (await bench.edge.fetch("/status/200")).status == 200
        assert path.read_text() == str(child.process.pid)


@BUILTIN_ONLY
@HTTP2_ONLY
async def test_says_what_it_is(bench: Bench) -> None:
    """The first line of the log says that this is not cloudflared."""
    async with bench.started() as child:
        await child.line("INF")
        assert "INF This is the prx builtin connector, standing in for cloudflared 2026.8.2." in child.lines[0]
