"""What cloudflared's own metrics server says, and the comparison of pushed rules with the configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.backends.base import Counters, Readiness
from prx.backends.cloudflare.endpoints import parse_counters, parse_quick_hostname, parse_ready
from prx.backends.cloudflare.ingress import Wanted, route_mismatch

FOLDER = Path(__file__).parents[1] / "data" / "cloudflared-2026.8.2"
WANTED = Wanted("agent.example.com", "/health", "127.0.0.1", 8080)


def recorded(title: str) -> bytes:
    """Return the body of a recorded answer."""
    text = (FOLDER / "metrics_endpoints.txt").read_text(encoding="utf-8")
    match = re.search(rf"^### GET {re.escape(title)}\s*\n\d+ [^\n]*\n(.*?)\n(?:\n|$)", text, re.DOTALL | re.MULTILINE)
    assert match is not None
    return match[1].encode()


def config(*rules: dict[str, Any], version: int = 3) -> bytes:
    """Return an answer of `/config` with these rules."""
    return json.dumps({"version": version, "config": {"ingress": list(rules)}}).encode()


def mismatch(*services: str, wanted: Wanted = WANTED) -> str:
    """Return the verdict on one rule for the wanted name for each service."""
    return route_mismatch(200, config(*({"hostname": wanted.hostname, "service": service} for service in services)), wanted)


def test_ready_is_read_from_the_real_answer() -> None:
    """The number of connections counts, whatever the status."""
    assert parse_ready(200, recorded("/ready 3 of 4")) == Readiness(3, "caef692d-6877-4518-8065-031fe158a52c")
    waiting = b'{"status":503,"readyConnections":0,"connectorId":"caef692d"}'
    assert parse_ready(503, waiting) == Readiness(0, "caef692d")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"404 page not found"),
        (200, b""),
        (200, b"OK"),
        (200, b"[]"),
        (200, b'{"readyConnections":"4"}'),
        (200, b'{"readyConnections":-1}'),
        (200, b'{"readyConnections":true}'),
        (302, b'{"readyConnections":4}'),
    ],
)
def test_a_foreign_answer_is_no_readiness(status: int, body: bytes) -> None:
    """A port that another program took over never counts as a ready tunnel."""
    assert parse_ready(status, body) is None


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("jolly-inlet-ember.trycloudflare.com", "jolly-inlet-ember.trycloudflare.com"),
        ("Jolly.TryCloudflare.com", "jolly.trycloudflare.com"),
        ("https://jolly.trycloudflare.com/", "jolly.trycloudflare.com"),
        ("jolly-inlet.localhost", "jolly-inlet.localhost"),
        ("", ""),
        ("api.trycloudflare.com", ""),
        ("API.trycloudflare.com.", ""),
        ("localhost", ""),
        ("127.0.0.1", ""),
        ("evil.com/path", ""),
        ("evil.com:80", ""),
        ("a b.com", ""),
        ("-a.com", ""),
        ("a..com", ""),
        ("x@evil.com", ""),
        ("a." * 130 + "com", ""),
    ],
)
def test_only_a_plausible_quick_name_is_believed(hostname: str, expected: str) -> None:
    """The name is a DNS name of two labels or more, and never the service's own."""
    body = json.dumps({"hostname": hostname}).encode()
    assert parse_quick_hostname(200, body) == expected
    assert parse_quick_hostname(500, body) == ""


def test_a_named_tunnel_has_no_quick_name() -> None:
    """The real answer of a named tunnel holds an empty name."""
    assert parse_quick_hostname(200, recorded("/quicktunnel")) == ""
    assert parse_quick_hostname(200, b'{"hostname":7}') == ""


def test_counters_of_a_real_run() -> None:
    """The totals stand in hundreds of other series."""
    http2 = parse_counters((FOLDER / "metrics.txt").read_bytes())
    assert (http2.requests, http2.request_errors, http2.registered) == (23, 1, 5)
    assert sum(http2.said.values()) == 22, "each request got a status from the service, or none"
    quic = parse_counters((FOLDER / "metrics_quic.txt").read_bytes())
    assert (quic.requests, quic.request_errors, quic.registered) == (5, 0, 4)


@pytest.mark.parametrize(
    "page",
    [
        b"cloudflared_tunnel_total_requests 7",
        b"cloudflared_tunnel_total_requests 7\n",
        b"# HELP x\ncloudflared_tunnel_total_requests 7\ngo_threads 9\n",
        b"cloudflared_tunnel_total_requests 3\ngo_threads 9\r\ncloudflared_tunnel_total_requests 4\r\n",
        b"\ncloudflared_tunnel_total_requests 7 1700000000000\n" + b"x" * 100_000,
        b"\ncloudflared_tunnel_total_requests 7\n" + b"x 1\n" * 100_000 + b"cloudflared_tunnel_request_errors 0\n",
    ],
    ids=["alone", "first", "amid others", "first and last", "before much", "around much"],
)
def test_what_counts_is_found_wherever_it_stands(page: bytes) -> None:
    """Whatever stands around it, and however often the same page is read."""
    for _ in range(2):
        assert parse_counters(page).requests == 7
        assert parse_counters(page.replace(b"requests 7", b"requests 8")).requests in {7, 8}
    assert parse_counters(b"go_threads 9\n").requests == 0


def test_rejections_and_duplicates_are_told_apart() -> None:
    """A duplicate connection is no rejection; several series add up; large numbers are written with an exponent."""
    body = b"""# HELP cloudflared_tunnel_tunnel_register_fail x
cloudflared_tunnel_tunnel_register_fail{error="server_error",rpcName="registerConnection"} 7
cloudflared_tunnel_tunnel_register_fail{error="dup_edge_conn",rpcName="registerConnection"} 2
cloudflared_tunnel_tunnel_register_fail{error="other",rpcName="registerConnection"} 1
cloudflared_tunnel_total_requests 1.234567e+06
cloudflared_tunnel_ha_connections 4
cloudflared_tunnel_request_errors NaN
"""
    assert parse_counters(body) == Counters(requests=1234567, rejected=8, duplicates=2)


@given(st.integers(0, 999), st.binary(max_size=300))
def test_no_answer_ever_raises(status: int, body: bytes) -> None:
    """No answer on that port can break prx."""
    parse_ready(status, body)
    parse_quick_hostname(status, body)
    parse_counters(body)
    route_mismatch(status, body, WANTED)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["version", "config", "ingress", "hostname", "path", "service"]), inner)))  # fmt: skip
def test_no_configuration_ever_raises(value: Any) -> None:
    """JSON of any shape is compared or ignored."""
    route_mismatch(200, json.dumps(value).encode(), WANTED)
    route_mismatch(200, json.dumps({"version": 1, "config": {"ingress": value}}).encode(), WANTED)
    route_mismatch(200, json.dumps({"version": 1, "config": {"ingress": [value]}}).encode(), WANTED)


def test_the_command_lines_own_rule_is_never_a_mismatch() -> None:
    """Version -1 is what prx itself passed; only a push can lead elsewhere."""
    assert route_mismatch(200, recorded("/config"), WANTED) == ""
    assert route_mismatch(200, config({"service": "http://localhost:1"}, version=-1), WANTED) == ""
    assert route_mismatch(500, config({"service": "http://localhost:1"}), WANTED) == ""


def test_a_pushed_rule_that_leads_elsewhere_names_both_sides() -> None:
    """The message holds the name, where it leads, and where it should lead."""
    pushed = recorded("/config after a config push")
    assert route_mismatch(200, pushed, WANTED) == (
        "agent.example.com routes to http://127.0.0.1:9204 in the Cloudflare dashboard, but local_addr is 127.0.0.1:8080"
    )
    assert route_mismatch(200, pushed, Wanted("agent.example.com", "/", "localhost", 9204)) == ""


@pytest.mark.parametrize(
    "service",
    [
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "http://0.0.0.0:8080",
        "https://localhost:8080",
        "http://app.localhost:8080",
        "ws://localhost:8080",
        "http://my-laptop:8080",
        "http://192.168.1.20:8080",
        "unix:/run/app.sock",
        "http://localhost:99999",
    ],
)
def test_what_leads_there_or_may_lead_there_is_no_mismatch(service: str) -> None:
    """Loopback has many names, another name may be this machine, a socket may be the same program: nothing is claimed."""
    assert mismatch(service) == ""


@pytest.mark.parametrize(
    "service",
    [
        "http://localhost:3000",
        "http://my-laptop:3000",
        "http://localhost",
        "https://localhost",
        "hello_world",
        "http_status:503",
        "bastion",
        "ssh://localhost:8080",
        "tcp://localhost:8080",
    ],
)
def test_what_surely_leads_elsewhere_is_a_mismatch(service: str) -> None:
    """Another port, another protocol or an answer of cloudflared's own cannot be the local service."""
    assert mismatch(service) == (
        f"agent.example.com routes to {service} in the Cloudflare dashboard, but local_addr is 127.0.0.1:8080"
    )


def test_standard_ports_are_filled_in() -> None:
    """A service without a port means port 80 or 443."""
    assert mismatch("http://localhost", wanted=Wanted("a.example.com", "/", "127.0.0.1", 80)) == ""
    assert mismatch("https://localhost", wanted=Wanted("a.example.com", "/", "::1", 443)) == ""


def test_two_different_addresses_are_two_machines() -> None:
    """Neither is loopback and both are addresses: then it is certain."""
    wanted = Wanted("a.example.com", "/", "192.168.1.5", 8080)
    assert mismatch("http://192.168.1.5:8080", wanted=wanted) == ""
    assert mismatch("http://0.0.0.0:8080", wanted=wanted) == ""
    assert mismatch("http://localhost:8080", wanted=wanted) == ""
    assert mismatch("http://192.168.1.6:8080", wanted=wanted).endswith("but local_addr is 192.168.1.5:8080")
    assert mismatch("http://localhost:1", wanted=Wanted("a.example.com", "/", "::1", 8080)).endswith("[::1]:8080")


@pytest.mark.parametrize("pattern", ["agent.example.com", "AGENT.example.com", "*.example.com", "", "*"])
def test_every_way_to_name_the_host(pattern: str) -> None:
    """Exact, wildcard and catch-all rules all answer for the name, and the first that fits decides."""
    rules = [
        {"hostname": "other.example.com", "service": "http://localhost:1"},
        {"hostname": pattern, "service": "http://localhost:8080"},
        {"service": "http://localhost:2"},
    ]
    assert route_mismatch(200, config(*rules), WANTED) == ""
    assert "localhost:2" in route_mismatch(200, config(rules[0], rules[2]), WANTED)


def test_a_wildcard_does_not_cover_the_name_above_it() -> None:
    """As in cloudflared, `*.example.com` is not `example.com`, and `*.ample.com` is not a part of it."""
    rules = [{"hostname": "*.agent.example.com", "service": "http://localhost:8080"}, {"service": "http_status:404"}]
    assert "no route for agent.example.com" in route_mismatch(200, config(*rules), WANTED)


def test_paths_choose_between_rules() -> None:
    """A rule with a path answers only if its expression is found in the watched path."""
    rules = [
        {"hostname": "agent.example.com", "path": "^/api", "service": "http://localhost:3000"},
        {"hostname": "agent.example.com", "path": "/heal", "service": "http://localhost:8080"},
        {"service": "http_status:404"},
    ]
    assert route_mismatch(200, config(*rules), WANTED) == ""
    assert "localhost:3000" in route_mismatch(200, config(*rules), Wanted("agent.example.com", "/api/x", "127.0.0.1", 8080))
    odd = {"hostname": "agent.example.com", "path": "[[:alpha:", "service": "http://localhost:3000"}
    assert route_mismatch(200, config(odd), WANTED) == ""


def test_a_name_without_a_route_is_said_with_those_that_have_one() -> None:
    """The last rule's bare status means that the dashboard does not know the name at all."""
    rules = [
        {"hostname": "b.example.com", "service": "http://localhost:8080"},
        {"hostname": "a.example.com", "service": "http://localhost:8080"},
        {"service": "http_status:404"},
    ]
    assert route_mismatch(200, config(*rules), WANTED) == (
        "this tunnel has no route for agent.example.com in the Cloudflare dashboard (it answers 404); "
        "it routes a.example.com, b.example.com"
    )
    assert route_mismatch(200, config(rules[2]), WANTED).endswith("(it answers 404)")
