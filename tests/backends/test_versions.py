"""The words of every version: what one event is called may change from release to release, what it means may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.backends.base import LineKind, LogLine
from prx.backends.cloudflare.classify import parse_line
from prx.backends.cloudflare.exits import classify_exit
from prx.backends.cloudflare.version import Feature, Version, understands
from prx.core.evidence import ChildExit, ExitCause
from prx.core.exit_status import ExitStatus
from prx.runtime.process.version import short_version

UUID = "3e0acd8b-0d5b-4c8e-9c9a-2b1f6d7f4f11"
POST = 'failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": '
GONE = "Unauthorized: Tunnel not found"


def line(message: str, error: str = "", *, as_json: bool = True, **fields: Any) -> LogLine:
    """Return a logged line, understood, from either format."""
    if as_json:
        return parse_line("stderr", json.dumps({"level": "error", "message": message, "error": error, **fields}))
    told = "".join(f" {name}={json.dumps(value)}" for name, value in {"error": error, **fields}.items())
    return parse_line("stderr", f"2026-11-22T17:08:56Z ERR {message}{told}")


def bare(text: str) -> LogLine:
    """Return a bare line, understood."""
    return parse_line("stderr", text)


def end(*lines: LogLine, code: int = 1) -> ChildExit:
    """Return why it ended."""
    return classify_exit(ExitStatus(code=code), lines, age=3.0)


# --- the quick-tunnel service

QUICK_ENDS = [
    # since 2026.9.3
    ("quick tunnel provisioning failed with status 429", ExitCause.RATE_LIMITED),
    ("quick tunnel provisioning failed with status 429: [1015] You are being rate limited", ExitCause.RATE_LIMITED),
    ("quick tunnel provisioning failed: [1015] error", ExitCause.RATE_LIMITED),
    ("quick tunnel provisioning failed: [7] Too many requests", ExitCause.RATE_LIMITED),
    ("quick tunnel provisioning failed", ExitCause.RATE_LIMITED),
    ("quick tunnel provisioning failed with status 403", ExitCause.REFUSED_QUICK),
    ("quick tunnel provisioning failed with status 403: [1020] Access denied", ExitCause.REFUSED_QUICK),
    ("quick tunnel provisioning failed with status 451", ExitCause.REFUSED_QUICK),
    ("quick tunnel provisioning failed with status 500", ExitCause.CRASH),
    ("quick tunnel provisioning failed with status 502: [1101] worker threw", ExitCause.CRASH),
    ("quick tunnel provisioning failed: [1101] worker threw", ExitCause.CRASH),
    ("quick tunnel provisioning response exceeds maximum size", ExitCause.CRASH),
    ("failed to read quick-tunnel response: something odd", ExitCause.CRASH),
    ("failed to read quick-tunnel response: read tcp 10.0.0.2:1->104.16.0.1:443: read: connection reset", ExitCause.NETWORK),
    ("failed to read quick-tunnel response: unexpected EOF", ExitCause.NETWORK),
    ("failed to unmarshal quick Tunnel: invalid character '<' looking for beginning of value", ExitCause.CRASH),
    # before, and still
    ("failed to parse quick Tunnel ID: invalid UUID length: 0", ExitCause.RATE_LIMITED),
    ("failed to parse quick Tunnel ID: invalid UUID length: 2", ExitCause.CRASH),
    (POST + "dial tcp: lookup api.trycloudflare.com on 127.0.0.53:53: no such host", ExitCause.NETWORK),
    (POST + "dial tcp: lookup api.trycloudflare.com: Temporary failure: server misbehaving", ExitCause.NETWORK),
    (POST + "dial tcp: lookup x on 10.0.0.1:53: read udp 10.0.0.2:4->10.0.0.1:53: i/o timeout", ExitCause.NETWORK),
    (POST + "dial tcp: lookup x on [::1]:53: read udp [::1]:4->[::1]:53: read: connection refused", ExitCause.NETWORK),
    (POST + "dial tcp 104.16.230.132:443: connect: network is unreachable", ExitCause.NETWORK),
    (POST + "dial tcp 104.16.230.132:443: connect: no route to host", ExitCause.NETWORK),
    (POST + "dial tcp 104.16.230.132:443: i/o timeout", ExitCause.NETWORK),
    (POST + "net/http: TLS handshake timeout", ExitCause.NETWORK),
    (POST + "read tcp 10.0.0.2:1->104.16.0.1:443: read: connection reset by peer", ExitCause.NETWORK),
    (POST + "EOF", ExitCause.NETWORK),
    (POST + "dial tcp 127.0.0.1:429: connect: connection refused", ExitCause.CRASH),
    (POST + "dial tcp 127.0.0.1:403: connect: connection refused", ExitCause.CRASH),
    (POST + "context deadline exceeded (Client.Timeout exceeded while awaiting headers)", ExitCause.CRASH),
]  # fmt: skip


@pytest.mark.parametrize(("text", "cause"), QUICK_ENDS)
@pytest.mark.parametrize("change", [str, str.lower, str.upper, str.title, str.capitalize], ids=lambda change: change.__name__)
def test_the_quick_service_is_understood_in_any_wording(text: str, cause: ExitCause, change: Any) -> None:
    """Old words or new, however they are capitalised: the same answer of the service is the same cause."""
    said = bare(change(text))
    assert said.kind is LineKind.QUICK_FAILED
    assert end(said).cause is cause


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        ("429 Too Many Requests", "error code: 1015", ExitCause.RATE_LIMITED),
        ("403 Forbidden", "<html>blocked by your company</html>", ExitCause.REFUSED_QUICK),
        ("403 Forbidden", "error code: 1020", ExitCause.REFUSED_QUICK),
        ("500 Internal Server Error", "<html>oops</html>", ExitCause.CRASH),
    ],
)
def test_an_answer_in_the_words_of_before(status: str, body: str, cause: ExitCause) -> None:
    """Before 2026.9.3 the status stands in a field of a logged line, and the last line does not have it."""
    for as_json in (True, False):
        text = f"Error unmarshaling QuickTunnel response: {body}"
        lines = (
            line(text, "invalid character", as_json=as_json, status_code=status),
            bare("failed to unmarshal quick Tunnel: x"),
        )
        assert end(*lines).cause is cause


def test_a_refused_network_gets_words_of_its_own() -> None:
    """403 is no rate: waiting a minute does not help, another network or a named tunnel does."""
    found = end(bare("quick tunnel provisioning failed with status 403"))
    assert found.detail == "the quick-tunnel service makes no tunnel for this network or address (403)"
    assert "another network" in found.hint


# --- a network that does not work is no crash


@pytest.mark.parametrize(
    "text",
    [
        "lookup _v2-origintunneld._tcp.argotunnel.com on 192.0.2.53:53: no such host",
        "edge discovery: lookup region1.v2.argotunnel.com: server misbehaving",
        "lookup cfd.argotunnel.com on 10.0.0.1:53: read udp 10.0.0.2:1->10.0.0.1:53: i/o timeout",
        "DialContext error: dial tcp 198.41.192.7:7844: i/o timeout",
        "DialContext error: dial tcp 198.41.192.7:7844: connect: network is unreachable",
        "failed to dial to edge with quic: write udp [::]:1->198.41.192.7:7844: sendmsg: no route to host",
    ],
)
def test_a_start_without_network_is_no_crash(text: str) -> None:
    """Whatever it calls it: what could not be reached is the network's affair."""
    for message in ("Couldn't start tunnel", "initial tunnel connection failed"):
        found = end(line(message, text), bare(text))
        assert (found.cause, found.detail[:60]) == (ExitCause.NETWORK, text[:60])


def checks(dns: str, udp: str, tcp: str, *, hard: bool, as_json: bool) -> list[LogLine]:
    """Return what the start checks log, as rows or as a box."""
    rows = {"DNS Resolution": dns, "UDP Connectivity": udp, "TCP Connectivity": tcp}
    if not as_json:
        box = [f"|  {name}  region1.v2.argotunnel.com  {status.upper()}  text  |" for name, status in rows.items()]
        summary = "critical failures. cloudflared may not be able" if hard else "degraded transport"
        return [line(text, as_json=False) for text in (*box, f"|  SUMMARY: Environment has {summary}.  |")]
    told = [line("precheck", component=name, status=status, target="x", run_id=UUID) for name, status in rows.items()]
    return [*told, line("precheck complete", hard_fail=hard, run_id=UUID)]


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    ("dns", "udp", "tcp", "words"),
    [
        ("fail", "skip", "skip", "names do not resolve"),
        ("fail", "fail", "fail", "names do not resolve"),
        ("pass", "fail", "fail", "both blocked"),
    ],
)
def test_start_checks_that_end_the_process(dns: str, udp: str, tcp: str, words: str, *, as_json: bool) -> None:
    """Since 2026.5.2 they may; that is the network's fault, and it is said what they found."""
    found = end(*checks(dns, udp, tcp, hard=True, as_json=as_json), bare("something that no table knows"))
    assert (found.cause, words in found.detail) == (ExitCause.NETWORK, True)


def test_start_checks_that_passed_explain_nothing() -> None:
    """A degraded network is no reason for an end, and a panic stays one."""
    degraded = checks("pass", "fail", "pass", hard=False, as_json=True)
    assert end(*degraded, bare("something that no table knows")).cause is ExitCause.CRASH
    assert end(bare("panic: read: connection reset by peer"), code=2).cause is ExitCause.CRASH


# --- the edge

GONE_MESSAGES = [
    "Serve tunnel error", "Register tunnel error from server side", "Register tunnel error", "failed to serve incoming request",
    "Connection terminated", "Unable to establish connection.", "failed to serve tunnel connection",
    "failed to accept incoming stream requests", "initial tunnel connection failed", "Some message of tomorrow",
]  # fmt: skip


@pytest.mark.parametrize("message", GONE_MESSAGES)
@pytest.mark.parametrize(
    "error", [GONE, GONE.lower(), "Register tunnel error from server side: " + GONE, "unauthorized tunnel not found"]
)
def test_a_forgotten_tunnel_is_told_apart_from_a_wrong_token(message: str, error: str) -> None:
    """Wherever the text stands; any other `Unauthorized` is about the token, and the wrong secret stays that."""
    for as_json in (True, False):
        assert line(message, error, as_json=as_json, connIndex=0).kind is LineKind.TUNNEL_GONE
    wrong = line(message, "Unauthorized: Invalid tunnel secret", connIndex=0).kind
    assert wrong is not LineKind.TUNNEL_GONE
    assert bare(GONE).kind is LineKind.TUNNEL_GONE


def test_a_visitor_cannot_make_a_tunnel_look_forgotten() -> None:
    """What stands in lines about requests comes from strangers."""
    for message, error in (
        ("", GONE),
        ("Request failed", GONE),
        ("failed to serve incoming request", f"Failed to proxy HTTP: /{GONE}"),
        ("failed to serve incoming request", f"Failed to proxy HTTP: {GONE}"),
        (f"GET /?{GONE} HTTP/1.1", ""),
    ):
        assert line(message, error).kind is not LineKind.TUNNEL_GONE


@pytest.mark.parametrize(
    ("message", "protocol"),
    [
        (f"Connection {UUID} registered", ""),
        (f"Connection {UUID} registered with protocol: quic", "quic"),
        (f"Connection {UUID} registered with protocol: http2", "http2"),
        ("Registered tunnel connection", ""),
    ],
)
def test_a_registration_of_any_version(message: str, protocol: str) -> None:
    """Before 2023.4.1 it was called otherwise; index and location are where they are now."""
    for as_json in (True, False):
        found = line(message, as_json=as_json, connIndex=2, location="AMS", ip="198.41.192.7")
        assert (found.kind, found.connection, found.location) == (LineKind.REGISTERED, 2, "AMS")
        assert found.protocol == protocol


@pytest.mark.parametrize("message", ["Failed to dial a quic connection", "Failed to create new quic connection"])
@pytest.mark.parametrize(
    ("error", "silent"),
    [
        ("failed to dial to edge with quic: timeout: no recent network activity", True),
        ("failed to dial to edge: timeout: no recent network activity", True),
        ("failed to dial to edge with quic: context deadline exceeded", True),
        ("failed to dial to edge with quic: INTERNAL_ERROR (local): tls: CurvePreferences includes unsupported curve", False),
        ("failed to dial to edge with quic: CRYPTO_ERROR 0x12a (local): tls: failed to verify certificate", False),
        ("failed to dial to edge with quic: sendmsg: operation not permitted", False),
    ],
)
def test_a_failed_quic_dial_of_any_version(message: str, error: str, *, silent: bool) -> None:
    """It counts under either name, and says whether nothing came back or something said no."""
    found = line(message, error, connIndex=0)
    assert (found.kind, found.protocol, found.fields["silent"]) == (LineKind.DIAL_FAILED, "quic", silent)
    assert line("Connection terminated", error, connIndex=0).kind is LineKind.SERVE_ERROR


@pytest.mark.parametrize(
    "message",
    [
        "update check failed",
        "Cannot determine default origin certificate path. No file cert.pem in [~/.cloudflared /etc/cloudflared]",
        "Unable to lookup protocol. Defaulting to `http2`. If this fails, you can set `--protocol h2mux`",
        "Unable to lookup protocol percentage.",
    ],
)
def test_lines_that_mean_nothing(message: str) -> None:
    """Older versions frighten people with them, too."""
    assert line(message, "whatever the reason was").kind is LineKind.NOISE


@given(
    st.sampled_from([*((text, "") for text, _ in QUICK_ENDS), *((message, GONE) for message in GONE_MESSAGES)]),
    st.dictionaries(st.sampled_from(["connIndex", "ip", "event", "type", "dest", "x"]), st.text(max_size=20) | st.integers()),
    st.booleans(),
)
def test_what_stands_beside_changes_nothing(told: tuple[str, str], fields: dict[str, Any], as_json: bool) -> None:
    """Any other fields, either format: the kind hangs on message and error alone."""
    message, error = told
    assert line(message, error, **fields).kind is line(message, error).kind
    if error and all(isinstance(value, int) for value in fields.values()):
        assert line(message, error, as_json=as_json, **fields).kind is line(message, error).kind


# --- the version itself


@pytest.mark.parametrize(
    ("said", "short"),
    [
        ("cloudflared version 2026.8.2 (built 2026-08-14-1117 UTC)", "2026.8.2"),
        ("cloudflared version DEV (built unknown)", "DEV"),
        ("cloudflared version DEV (built 2026.01.01-1200 UTC)", "DEV"),
        ("cloudflared version 2022.6.0", "2022.6.0"),
        ("2026.10.0", "2026.10.0"),
        ("cloudflared version 2026.8.2-fips (built x)", "2026.8.2-fips"),
        ("flared: I have no idea what you want of me and say so at length", "flared:"),
        ("", ""),
    ],
)
def test_a_version_is_one_short_word(said: str, short: str) -> None:
    """Never the whole sentence, whatever a package made of it."""
    assert short_version(said) == short


def test_protected_quick_tunnels_need_a_version_that_has_them() -> None:
    """2026.9.3 has the flag first; a version that cannot be read has nothing new."""
    assert understands(Version(2026, 9, 3), Feature.ALLOWED_MAIL)
    assert understands(Version(2026, 10, 0), Feature.ALLOWED_MAIL)
    assert not understands(Version(2026, 9, 1), Feature.ALLOWED_MAIL)
    assert not understands(None, Feature.ALLOWED_MAIL)
