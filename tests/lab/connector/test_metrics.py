"""The metrics server: paths, bodies, numbers, and a port that is taken."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.lab.connector.bench import Bench
from tests.lab.connector.child import TUNNEL_ID, ask, run, token

from prx.lab.connector.errors import StartError
from prx.lab.connector.log import Log
from prx.lab.connector.metrics import Metrics
from prx.lab.connector.metrics_server import USUAL_PORTS, address_of, open_listener


def series(text: str) -> dict[str, float]:
    """The values of cloudflared's own series."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("cloudflared_")]
    return {name: float(value) for name, _, value in lines}


async def test_endpoints(bench: Bench) -> None:
    """Every path answers as the real connector's does, under any Host."""
    async with bench.started(connections=2) as child:
        await bench.up(child, 2)
        ready = await ask(child, "/ready")
        body = ready.json()
        assert (ready.status_code, body["readyConnections"], len(body["connectorId"])) == (200, 2, 36)
        assert ready.headers["content-type"] == "text/plain; charset=utf-8"
        assert (await ask(child, "/healthcheck")).text == "OK\n"
        assert (await ask(child, "/quicktunnel")).text == '{"hostname":""}'
        nothing = await ask(child, "/nope")
        assert (nothing.status_code, nothing.text) == (404, "404 page not found\n")
        config = (await ask(child, "/config")).json()
        assert (config["version"], config["config"]["ingress"][0]["service"]) == (-1, bench.origin.url)
        diagnosis = (await ask(child, "/diag/tunnel")).json()
        assert diagnosis["tunnelID"] == str(TUNNEL_ID)
        assert diagnosis["connectorID"] == body["connectorId"]
        named = {} if bench.edge.protocol == "http2" else {"protocol": 1}
        assert sorted(diagnosis["connections"], key=lambda connection: connection.get("index", 0)) == [
            {"isConnected": True, **named, "edgeAddress": "127.0.0.1"},
            {"isConnected": True, **named, "edgeAddress": "127.0.0.1", "index": 1},
        ]
        await child.line("INF Collection finished collector=tunnelState")


async def test_a_stop_while_clients_wait(bench: Bench) -> None:
    """A stop ends quietly although clients hold connections: one that is idle, one that has asked, one within a request."""
    async with asyncio.timeout(30), bench.started() as child:
        line = await child.line("INF Starting metrics server on ")
        await bench.up(child)
        host, _, port = line.partition("metrics server on ")[2].partition("/metrics")[0].rpartition(":")
        writers = []
        for request in (b"", b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /ready HT"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writers.append(writer)
            writer.write(request)
            if request.endswith(b"\n"):
                assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        child.process.terminate()
        await child.process.wait()
        for writer in writers:
            writer.close()
    assert child.lines[-1].endswith("INF Metrics server stopped"), child.lines[-5:]


async def test_counters(bench: Bench) -> None:
    """Requests, answers, errors and registrations are counted under the same names."""
    async with bench.started() as child:
        await bench.up(child)
        for path in ("/status/200", "/status/200", "/status/404"):
            await bench.edge.fetch(path)
        assert (await bench.edge.push(7, '{"ingress": [{"service": "http://127.0.0.1:1"}]}')) == (7, True)
        assert (await bench.edge.fetch("/")).status == 502
        found = series((await ask(child, "/metrics")).text)
    expected = {
        "cloudflared_tunnel_total_requests": 4,
        "cloudflared_tunnel_request_errors": 1,
        'cloudflared_tunnel_response_by_code{status_code="200"}': 2,
        'cloudflared_tunnel_response_by_code{status_code="404"}': 1,
        "cloudflared_tunnel_concurrent_requests_per_tunnel": 0,
        "cloudflared_tunnel_ha_connections": 1,
        "cloudflared_orchestration_config_version": 7,
        "cloudflared_config_local_config_pushes": 1,
        "cloudflared_config_local_config_pushes_errors": 0,
        'cloudflared_tunnel_tunnel_register_success{rpcName="registerConnection"}': 1,
        'cloudflared_rpc_client_operations{handler="registration",method="register_connection"}': 1,
        'cloudflared_tunnel_server_locations{connection_id="0",edge_location="test01"}': 1,
    }
    assert {name: found.get(name) for name in expected} == expected


async def test_port_taken(command: Sequence[str], tmp_path: Path) -> None:
    """A metrics port that is taken ends the process with 1 and says which."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ["tunnel", "--no-prechecks", "--protocol", "http2", "--edge", "127.0.0.1:1", "--edge", "127.0.0.1:1"]
        code, _, err = await run([*words, "--metrics", address, "run", "--token", token()], tmp_path, command=command)
    cause = f"failed to bind to address ({address}): listen tcp {address}: bind: address already in use"
    assert code == 1
    assert f'ERR Error opening metrics server listener error="{cause}"\n' in err
    assert err.splitlines()[-1] == f"Error opening metrics server listener: {cause}"


def test_address_of_its_own() -> None:
    """Without an address one of the usual ports is taken, or another when they are not free."""
    log = Log(sink=lambda _: None)
    with open_listener("", log) as first, open_listener("", log) as second:
        ports = {int(address_of(listener).rpartition(":")[2]) for listener in (first, second)}
        assert len(ports) == 2
        assert min(ports) in USUAL_PORTS or min(ports) > 1024


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:x", "127.0.0.1:99999"])
def test_bad_address(address: str) -> None:
    """An address that is none is refused with a reason."""
    with pytest.raises(StartError, match="Error opening metrics server listener"):
        open_listener(address, Log(sink=lambda _: None))


def test_every_request_is_counted_beyond_a_million() -> None:
    """Who compares two readings sees one more request as one more, however many there were."""
    metrics = Metrics()
    readings = []
    for change in (1_234_567, 1, 8_765_432_100):
        metrics.add("tunnel_total_requests", change)
        readings.append(series(metrics.render())["cloudflared_tunnel_total_requests"])
    assert readings == [1_234_567, 1_234_568, 8_766_666_668]


def test_text_format() -> None:
    """Series are sorted, explained once, and labels escaped."""
    metrics = Metrics()
    metrics.located(0, 'a"b')
    metrics.located(0, "c")
    text = metrics.render()
    assert 'cloudflared_tunnel_server_locations{connection_id="0",edge_location="a\\"b"} 0\n' in text
    assert 'cloudflared_tunnel_server_locations{connection_id="0",edge_location="c"} 1\n' in text
    assert text.count("# HELP cloudflared_tunnel_server_locations ") == 1
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert names == sorted(names)
