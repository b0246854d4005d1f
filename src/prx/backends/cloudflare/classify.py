"""Classify a log line by its message: tables only, so that a new version's words are added in one place.

Theory of operation. `kind_of` considers first the stream (stdout carries usage text and nothing else), then for the message
in a table of exact texts, a table of beginnings, and, if one message stands for several things ("Serve tunnel error",
"failed to serve incoming request"), at its error. Before all tables stands one question: does the edge say that the tunnel is
gone? That text may come in many messages. Texts were observed with cloudflared 2026.8.2; those of other versions are from its
published source, with the version that changed them.

Several lines may report one event, in an order that depends on the transport. LOST therefore means "this connection is not
registered (any more)" and may come twice, or for a connection that never was; a failed dial is DIAL_FAILED once, its echoes
are SERVE_ERROR.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from prx.backends.base import LineKind, LogLine
from prx.backends.cloudflare.loglines import STDOUT, take_apart
from prx.backends.cloudflare.noise import is_noise

_EXACT: Final = {
    "Registered tunnel connection": LineKind.REGISTERED,
    "Lost connection with the edge": LineKind.LOST,
    "Unregistered tunnel connection": LineKind.UNREGISTERED,
    "Unable to establish connection with Cloudflare edge": LineKind.DIAL_FAILED,
    "Failed to dial a quic connection": LineKind.DIAL_FAILED,
    "Failed to create new quic connection": LineKind.DIAL_FAILED,  # before 2024.11.0
    "Request failed": LineKind.ORIGIN_ERROR,
    "Updated to new configuration": LineKind.CONFIG_PUSHED,
    "Couldn't start tunnel": LineKind.FATAL,
    "initial tunnel connection failed": LineKind.FATAL,
    "Initiating shutdown": LineKind.FATAL,
    "Error opening metrics server listener": LineKind.FATAL,
    "Tunnel server stopped": LineKind.SHUTDOWN,
    "Metrics server stopped": LineKind.SHUTDOWN,
    "precheck": LineKind.PRECHECK,
    "precheck complete": LineKind.PRECHECK,
}

_BEGINS: Final = (
    ("Retrying connection in up to", LineKind.RETRYING),
    ("Initiating graceful shutdown", LineKind.SHUTDOWN),
    ("Starting metrics server on ", LineKind.METRICS_UP),
    ("Initial protocol ", LineKind.PROTOCOL),
    ("Switching to fallback protocol ", LineKind.PROTOCOL),
    ("See 'cloudflared", LineKind.USAGE),
    ("Incorrect Usage", LineKind.USAGE),
    ("Unable to reach the origin service", LineKind.ORIGIN_ERROR),
)

# Of lines that report that a connection came, went or could not be had. A visitor's address holds no space, so none of them.
LANDMARKS: Final = ("tunnel connection", " edge", "Retrying connection", "Serve tunnel error", ": too many open files")

# Bare lines on stderr: the process says why it ends.
_BARE_FATAL: Final = (
    "Provided Tunnel token is not valid",
    '"cloudflared tunnel run" requires',
    "Failed to read token file",
    "Error opening metrics server listener",
    "Error validating origin URL",
    "unable to create TLS config",
    "unknown protocol ",
    "invalid value for edge-ip-version",
    "grace-period must be",
    "failed to resolve any edge address",
    "region provided with a token",
    "error parsing YAML in config file",
    "connection with edge closed",
    "panic: ",
    "fatal error: ",
    "runtime: ",
    "SIGQUIT: ",
)

# Of the quick-tunnel service. Versions differ in words and capital letters; "provisioning" is since 2026.9.3.
_QUICK_FAILED: Final = re.compile(
    r"error unmarshaling quick ?tunnel response|failed to (?:build|request|read|parse|unmarshal) quick[ -]tunnel"
    r"|quick[ -]tunnel provisioning (?:failed|response)|(?:validate|initialize) quick tunnel",
    re.IGNORECASE,
)
# The edge does not know the tunnel (any more). At the beginning of the text only: further on it may be a visitor's.
_GONE: Final = re.compile(r"(?!failed to proxy)(?:[a-z ]{0,40}: )?unauthorized:? tunnel not found", re.IGNORECASE)
_CONNECTION_ENDS: Final = (
    "failed to serve tunnel connection",
    "failed to accept incoming stream requests",
    "failed to run the datagram handler",
)
_REGISTERED_BEFORE_2023_4_1: Final = re.compile(r"Connection [0-9a-fA-F-]{36} registered(?: with protocol: (\w+))?")
_PROTOCOLS: Final = {
    "Failed to dial a quic connection": "quic",
    "Failed to create new quic connection": "quic",
    "Unable to establish connection with Cloudflare edge": "http2",
}
# How a dial fails of which nothing came back; any other failure is a refusal, by the other side or by this machine.
_SILENCE: Final = re.compile(
    r"no recent network activity|deadline exceeded|time[d-]? ?out|unreachable|no route to host", re.IGNORECASE
)
# A dial to the service for which the machine gave the client nothing. The end of the text is the system's, not the service's.
_LACKS: Final = re.compile(
    r"Unable to reach the origin service\.[^:]*: dial (?:tcp|unix)\b.*: "
    r"(too many open files(?: in system)?|cannot allocate memory|no buffer space available|cannot assign requested address)"
)
_QUICK_URL: Final = re.compile(r"\|\s+https://([a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::\d+)?/?\s+\|")
_PRECHECK_BOX: Final = re.compile(
    r"\|\s+(CONNECTIVITY PRE-CHECKS|COMPONENT  |DNS Resolution  |UDP Connectivity  |TCP Connectivity  |Cloudflare API  "
    r"|WARNING: |ERROR: |SUMMARY: )"
)
_LOST_ERRORS: Final = ("connection with edge closed", "accept stream listener encountered", "datagram manager encountered")
_ECHOES: Final = re.compile(r"DialContext error|TLS handshake with edge error|failed to dial to edge", re.IGNORECASE)


def parse_line(stream: str, line: str) -> LogLine:
    """Understand one line, without its newline, of "stdout" or "stderr". It keeps the level that the client gave it.

    A failed dial gets the field `silent`: whether nothing came back, as when packets are dropped. False: it was refused, or
    could not even begin (such as a QUIC library that lacks a curve). A request for which this machine gave the client no
    connection to the service gets the field `lacks`: what there was too little of, in the system's words.
    """
    parts = take_apart(line)
    if parts.message == "Connection terminated":
        parts = replace(parts, ends_round=True)
    kind = kind_of(stream, parts)
    if kind is LineKind.FATAL and parts.fields.get("bare"):
        return replace(parts, kind=kind, level="error")
    if kind is LineKind.QUICK_URL:
        host = _quick_host(parts)
        return replace(parts, kind=kind, fields={**parts.fields, "url": f"https://{host}", "hostname": host})
    fields = parts.fields
    if kind is LineKind.DIAL_FAILED:
        fields = {**fields, "silent": _SILENCE.search(parts.error) is not None}
    elif kind is LineKind.ORIGIN_ERROR and (lacks := _LACKS.fullmatch(parts.error)):
        fields = {**fields, "lacks": lacks[1]}
    protocol = parts.protocol or _protocol_of(parts)
    if (kind, protocol, fields) == (parts.kind, parts.protocol, parts.fields):  # of most lines
        return parts
    return replace(parts, kind=kind, protocol=protocol, fields=fields)


def kind_of(stream: str, line: LogLine) -> LineKind:
    """Return what a line is about."""
    if stream == STDOUT:
        return LineKind.USAGE
    if is_noise(line):
        return LineKind.NOISE
    if _says_gone(line):
        return LineKind.TUNNEL_GONE
    if kind := _EXACT.get(line.message):
        return kind
    for begin, begin_kind in _BEGINS:
        if line.message.startswith(begin):
            return begin_kind
    if _QUICK_FAILED.match(line.message):
        return LineKind.QUICK_FAILED
    if _REGISTERED_BEFORE_2023_4_1.fullmatch(line.message):
        return LineKind.REGISTERED
    return _by_error(line) or _by_shape(line)


def _says_gone(line: LogLine) -> bool:
    """Return whether the edge says that it does not know the tunnel: in the error of any message, or in a line of its own."""
    if line.message in ("", "Request failed"):
        return False
    return _GONE.match(line.error or line.message) is not None


def _by_error(line: LogLine) -> LineKind | None:
    """Decide about the messages that stand for several things."""
    match line.message:
        case "":
            return LineKind.ORIGIN_ERROR if line.error else None
        case "Serve tunnel error":
            return LineKind.LOST if line.error.startswith(_LOST_ERRORS) else _rejection(line.error)
        case "Connection terminated":
            return LineKind.SERVE_ERROR if _ECHOES.match(line.error) else LineKind.LOST
        case "Register tunnel error from server side" | "Unable to establish connection.":
            return _rejection(line.error, otherwise=LineKind.REJECTED)
        case "failed to serve incoming request":
            return _request_or_control_stream(line.error)
        case message if message in _CONNECTION_ENDS:
            return _rejection(line.error)
    return None


def _request_or_control_stream(error: str) -> LineKind:
    """Over HTTP/2 the control stream is one request among others: its error is the edge's refusal to register."""
    if error.startswith("Failed to proxy"):
        return LineKind.ORIGIN_ERROR
    if error == "context deadline exceeded":  # the edge left the registration without an answer
        return LineKind.SERVE_ERROR
    return _rejection(error, otherwise=LineKind.REJECTED)


def _rejection(error: str, *, otherwise: LineKind = LineKind.SERVE_ERROR) -> LineKind:
    if "Unauthorized" in error:
        return LineKind.UNAUTHORIZED
    if "already connected to this server" in error:
        return LineKind.DUPLICATE
    return LineKind.SERVE_ERROR if _ECHOES.match(error) else otherwise


def _by_shape(line: LogLine) -> LineKind:
    if line.message.startswith("|"):
        if _quick_host(line):
            return LineKind.QUICK_URL
        return LineKind.PRECHECK if _PRECHECK_BOX.match(line.message) else LineKind.OTHER
    if line.fields.get("bare") and line.message.startswith(_BARE_FATAL):
        return LineKind.FATAL
    return LineKind.OTHER


def _quick_host(line: LogLine) -> str:
    match = _QUICK_URL.fullmatch(line.message)
    return "" if match is None or match[1].startswith("api.") else match[1]


def _protocol_of(line: LogLine) -> str:
    if protocol := _PROTOCOLS.get(line.message):
        return protocol
    if registered := _REGISTERED_BEFORE_2023_4_1.fullmatch(line.message):
        return registered[1] or ""
    for begin in ("Initial protocol ", "Switching to fallback protocol "):
        if line.message.startswith(begin):
            return line.message.removeprefix(begin)
    return ""
