"""The quick-tunnel service: what is asked, and what is made of the answer."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
from tests.lab.connector.bench import BUILTIN_ONLY, HTTP2_ONLY, Bench
from tests.lab.connector.child import BUILTIN, TUNNEL_ID, ask, started
from tests.lab.connector.quick_service import QuickService
from tests.support.waits import PATIENCE

from prx.lab.connector.errors import StartError
from prx.lab.connector.go_errors import json_text
from prx.lab.connector.log import Log
from prx.lab.connector.quick import request_tunnel

GOOD = {
    "success": True,
    "errors": [],
    "result": {
        "id": str(TUNNEL_ID),
        "name": "q",
        "hostname": "a-b-c.trycloudflare.com",
        "account_tag": "t",
        "secret": "c2VjcmV0",
    },
}


async def test_quick_tunnel(bench: Bench) -> None:
    """A quick tunnel shows its URL in a box and on the metrics server, has one connection, and carries requests."""
    async with QuickService(body=json.dumps(GOOD)).running() as service:
        words = [*bench.common("--quick-service", service.url, connections=4), "--url", bench.origin.url]
        async with started(words, bench.home, command=bench.command) as child:
            await bench.up(child)
            box = [line.split(" ", 2)[2] for line in child.lines if "INF +--" in line or "INF |" in line]
            assert box == [
                "+--------------------------------------------------------------------------------------------+",
                "|  Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):  |",
                "|  https://a-b-c.trycloudflare.com                                                           |",
                "+--------------------------------------------------------------------------------------------+",
            ]
            assert (await ask(child, "/quicktunnel")).text == '{"hostname":"a-b-c.trycloudflare.com"}'
            assert (await bench.edge.fetch("/status/200", host="a-b-c.trycloudflare.com")).status == 200
            assert json.loads(await bench.edge.told())["ingress"] == [{"service": bench.origin.url, "originRequest": {}}]
            child.send(signal.SIGTERM)
            assert await child.exit_code() == 0
        head = service.requests[0]
        assert head.startswith("POST /tunnel HTTP/1.1\r\n")
        assert "content-length: 0\r\n" in head.lower()
        assert "content-type: application/json\r\n" in head.lower()
    assert len(bench.edge.registrations) == 1
    assert bench.edge.registrations[0].tunnel_id == TUNNEL_ID


@HTTP2_ONLY
async def test_signal_while_asking(bench: Bench) -> None:
    """A signal before the tunnel runs ends the process by that signal."""
    async with QuickService(body=None).running() as service:
        words = [*bench.common("--quick-service", service.url), "--url", bench.origin.url]
        async with started(words, bench.home, command=bench.command) as child, asyncio.timeout(PATIENCE):
            await service.asked.wait()
            child.send(signal.SIGTERM)
            assert await child.exit_code() == -signal.SIGTERM


REFUSALS = [
    # status, body; the last line until 2026.9.1; the same since 2026.9.3
    (
        "429 X", '{"success":false,"errors":[{"code":1015,"message":"slow down"}]}',
        "failed to parse quick Tunnel ID: invalid UUID length: 0",
        "quick tunnel provisioning failed with status 429: [1015] slow down",
    ),
    (
        "200 OK", '{"success":true,"result":{"id":"zz"}}',
        "failed to parse quick Tunnel ID: invalid UUID length: 2", "failed to parse quick Tunnel ID: invalid UUID length: 2",
    ),
    (
        "200 OK", '{"success":false,"errors":[{"code":7,"message":"no"},{"code":8}]}',
        "failed to parse quick Tunnel ID: invalid UUID length: 0", "quick tunnel provisioning failed: [7] no; [8]",
    ),
    ("200 OK", "{}", "failed to parse quick Tunnel ID: invalid UUID length: 0", "quick tunnel provisioning failed"),
    (
        "500 X", "<html>oops</html>",
        "failed to unmarshal quick Tunnel: invalid character '<' looking for beginning of value",
        "quick tunnel provisioning failed with status 500",
    ),
    (
        "403 X", "forbidden",
        "failed to unmarshal quick Tunnel: invalid character 'o' in literal false (expecting 'a')",
        "quick tunnel provisioning failed with status 403",
    ),
    (
        "429 X", "error code: 1015",
        "failed to unmarshal quick Tunnel: invalid character 'e' looking for beginning of value",
        "quick tunnel provisioning failed with status 429",
    ),
    (
        "200 X", "not json",
        "failed to unmarshal quick Tunnel: invalid character 'o' in literal null (expecting 'u')",
        "failed to unmarshal quick Tunnel: invalid character 'o' in literal null (expecting 'u')",
    ),
    (
        "200 X", "",
        "failed to unmarshal quick Tunnel: unexpected end of JSON input",
        "failed to unmarshal quick Tunnel: unexpected end of JSON input",
    ),
]  # fmt: skip


@HTTP2_ONLY
@pytest.mark.parametrize(("status", "body", "before", "since"), REFUSALS)
async def test_refusals(bench: Bench, status: str, body: str, before: str, since: str) -> None:
    """A refusal ends the process with 1, and its last line says what came back, in the words of its version."""
    async with QuickService(status, body).running() as service:
        words = [*bench.common("--quick-service", service.url), "--url", bench.origin.url]
        async with started(words, bench.home, command=bench.command) as child:
            assert await child.exit_code() == 1
            last = since if bench.command == BUILTIN else before
            await child.line(last)
            assert child.lines[-1].startswith(last)
            if bench.command == BUILTIN:  # what the service sent may hold a secret
                assert not [line for line in child.lines if "oops" in line or "forbidden" in line]


@BUILTIN_ONLY
@HTTP2_ONLY
async def test_an_answer_without_end(bench: Bench) -> None:
    """More than a MiB is not read."""
    async with QuickService("200 OK", " " * ((1 << 20) + 1)).running() as service:
        words = [*bench.common("--quick-service", service.url), "--url", bench.origin.url]
        async with started(words, bench.home, command=bench.command) as child:
            assert await child.exit_code() == 1
            await child.line("quick tunnel provisioning response exceeds maximum size")


async def test_no_answer() -> None:
    """A service that does not answer is given up after the limit, with cloudflared's words."""
    async with QuickService(body=None).running() as service:
        with pytest.raises(StartError, match=r"timeout awaiting response headers \(Client.Timeout exceeded"):
            await request_tunnel(service.url, Log(sink=lambda _: None), limit=0.05)


@BUILTIN_ONLY
@HTTP2_ONLY
async def test_logfile(bench: Bench, tmp_path: Path) -> None:
    """A log file gets the lines as JSON."""
    path = tmp_path / "log.json"
    async with QuickService("500 X", "nope").running() as service:
        words = [*bench.common("--quick-service", service.url, "--logfile", str(path)), "--url", bench.origin.url]
        async with started(words, bench.home, command=bench.command) as child:
            assert await child.exit_code() == 1
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records[-1]["message"] == "Requesting new quick Tunnel on trycloudflare.com..."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  ", "unexpected end of JSON input"),
        ("nul", "unexpected end of JSON input"),
        ("nullx", "invalid character 'x' after top-level value"),
        ("true1", "invalid character '1' after top-level value"),
        ('{"a":', "unexpected end of JSON input"),
        ("'", "invalid character '\\'' looking for beginning of value"),
    ],
)
def test_json_words(text: str, words: str) -> None:
    """A text that is not JSON is described in Go's words."""
    assert json_text(text) == words
