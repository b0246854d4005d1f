"""List every flag of `cloudflared tunnel` and `cloudflared tunnel run`: kind, place, environment, default.

Theory of operation: a flag belongs to the tunnel command (it stands before the word `run`), to the run command (after
it), or to both. cloudflared answers a flag on the wrong side with usage text on stdout and exit code 0, so the place is
part of the contract. Flags without a use here are still accepted, because scripts pass them. Observed with cloudflared
2026.8.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """How the text of a value is read."""

    TEXT = "text"
    BOOL = "bool"
    INTEGER = "integer"
    DURATION = "duration"
    LIST = "list"


class Side(Enum):
    """The side of the word `run` on which a flag may stand."""

    TUNNEL = "tunnel"
    RUN = "run"
    BOTH = "both"

    def allows(self, *, after_run: bool) -> bool:
        """Return whether the flag may stand there."""
        return self is Side.BOTH or (self is Side.RUN) == after_run


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; the values of `reported` ones are sent to the edge."""

    name: str
    help: str = ""
    kind: Kind = Kind.TEXT
    side: Side = Side.TUNNEL
    env: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    default: str = ""
    reported: bool = False
    secret: bool = False

    @property
    def used(self) -> bool:
        """Return whether this connector acts on the flag; the others are accepted and have no effect."""
        return bool(self.help)


_USED: Final = (
    Flag("config", "Configuration file; YAML, or empty."),
    Flag("edge", "Address host:port of an edge; may be repeated.",
         Kind.LIST, env=("TUNNEL_EDGE",)),
    Flag("cacert", "File of certificates that replaces the edge's root certificates.",
         env=("TUNNEL_CACERT",)),
    Flag("region", "Region of the edge; empty for the nearest.", env=("TUNNEL_REGION",)),
    Flag("edge-ip-version", "auto, 4 or 6.", env=("TUNNEL_EDGE_IP_VERSION",), default="auto", reported=True),
    Flag("quick-service", "URL of the service that makes quick tunnels.",
         default="https://api.trycloudflare.com"),
    Flag("allowed-mail", "Who may pass a quick tunnel: you@example.com, or *@example.com; may be repeated.",
         Kind.LIST, Side.BOTH, secret=True),
    Flag("ha-connections", "Connections to keep to the edge.", Kind.INTEGER, default="4"),
    Flag("retries", "Most doublings of the wait between attempts.",
         Kind.INTEGER, env=("TUNNEL_RETRIES",), default="5", reported=True),
    Flag("max-edge-addr-retries", "Failed dials over QUIC before another protocol is tried.",
         Kind.INTEGER, default="8"),
    Flag("grace-period", "Time for requests in flight after a stop.",
         Kind.DURATION, env=("TUNNEL_GRACE_PERIOD",), default="30s"),
    Flag("rpc-timeout", "Time for one call to the edge.", Kind.DURATION, default="5s"),
    Flag("metrics", "Address host:port for metrics and readiness.",
         env=("TUNNEL_METRICS",), default="localhost:0", reported=True),
    Flag("pidfile", "File that receives the process id after the first connection.",
         env=("TUNNEL_PIDFILE",)),
    Flag("loglevel", "debug, info, warn, error or fatal.",
         env=("TUNNEL_LOGLEVEL",), default="info", reported=True),
    Flag("logfile", "File that receives the log too, as JSON lines.", env=("TUNNEL_LOGFILE",)),
    Flag("log-directory", "Folder that receives the log too, as JSON lines in files of 1 MiB.", env=("TUNNEL_LOGDIRECTORY",)),
    Flag("output", "default or json.",
         env=("TUNNEL_MANAGEMENT_OUTPUT", "TUNNEL_LOG_OUTPUT"), default="default"),
    Flag("tag", "KEY=VALUE, sent to the origin as Cf-Warp-Tag-KEY; may be repeated.",
         Kind.LIST, env=("TUNNEL_TAG",)),
    Flag("protocol", "auto, http2 or quic.",
         side=Side.BOTH, env=("TUNNEL_TRANSPORT_PROTOCOL",), aliases=("p",), default="auto", reported=True),
    Flag("url", "Address of the local service.",
         side=Side.BOTH, env=("TUNNEL_URL",), default="http://localhost:8080"),
    Flag("unix-socket", "Path of the local service's Unix socket.",
         side=Side.BOTH, env=("TUNNEL_UNIX_SOCKET",)),
    Flag("hello-world", "Serve a built-in page.",
         Kind.BOOL, Side.BOTH, env=("TUNNEL_HELLO_WORLD",)),
    Flag("http-host-header", "Host header for the local service.",
         side=Side.BOTH, env=("TUNNEL_HTTP_HOST_HEADER",)),
    Flag("origin-server-name", "Name expected in the local service's certificate.",
         side=Side.BOTH, env=("TUNNEL_ORIGIN_SERVER_NAME",)),
    Flag("origin-ca-pool", "File of certificates for the local service.",
         side=Side.BOTH, env=("TUNNEL_ORIGIN_CA_POOL",)),
    Flag("no-tls-verify", "Do not check the local service's certificate.",
         Kind.BOOL, Side.BOTH, env=("NO_TLS_VERIFY",)),
    Flag("http2-origin", "Speak HTTP/2 with the local service if it has TLS.",
         Kind.BOOL, Side.BOTH, env=("TUNNEL_ORIGIN_ENABLE_HTTP2",)),
    Flag("token", "Token of the tunnel; shown by ps, so prefer --token-file.",
         side=Side.RUN, env=("TUNNEL_TOKEN",), secret=True),
    Flag("token-file", "File that holds the token.", side=Side.RUN, env=("TUNNEL_TOKEN_FILE",)),
    Flag("credentials-file", "File of the tunnel's credentials, as `cloudflared tunnel create` writes it.",
         side=Side.RUN, env=("TUNNEL_CRED_FILE",), aliases=("cred-file",)),
    Flag("credentials-contents", "What such a file holds.",
         side=Side.RUN, env=("TUNNEL_CRED_CONTENTS",), secret=True),
    Flag("origincert", "File beside which the tunnel's credentials are searched.",
         env=("TUNNEL_ORIGIN_CERT",), reported=True),
    Flag("label", "Name of this connector among those of the tunnel, for the management host."),
    Flag("management-diagnostics", "Answer for /metrics at the management host.",
         Kind.BOOL, env=("TUNNEL_MANAGEMENT_DIAGNOSTICS",), default="true"),
    Flag("management-hostname", "Name of the management host.",
         env=("TUNNEL_MANAGEMENT_HOSTNAME",), default="management.argotunnel.com"),
    Flag("stdin-control", "Obey commands from stdin: reconnect [delay].",
         Kind.BOOL, env=("STDIN_CONTROL",)),
)  # fmt: skip

_ACCEPTED: Final = (
    Flag("no-autoupdate", kind=Kind.BOOL, env=("NO_AUTOUPDATE",), reported=True),
    Flag("autoupdate-freq", kind=Kind.DURATION, default="24h", reported=True),
    Flag("is-autoupdated", kind=Kind.BOOL),
    Flag("no-prechecks", kind=Kind.BOOL, env=("TUNNEL_NO_PRECHECKS",)),
    Flag("edge-bind-address", env=("TUNNEL_EDGE_BIND_ADDRESS",), reported=True),
    Flag("transport-loglevel",
         env=("TUNNEL_PROTO_LOGLEVEL", "TUNNEL_TRANSPORT_LOGLEVEL"), aliases=("proto-loglevel",), reported=True),
    Flag("trace-output", env=("TUNNEL_TRACE_OUTPUT",)),
    Flag("metrics-update-freq", kind=Kind.DURATION, env=("TUNNEL_METRICS_UPDATE_FREQ",), reported=True),
    Flag("write-stream-timeout", kind=Kind.DURATION, env=("TUNNEL_STREAM_WRITE_TIMEOUT",)),
    Flag("dial-edge-timeout", kind=Kind.DURATION, env=("DIAL_EDGE_TIMEOUT",)),
    Flag("quic-disable-pmtu-discovery", kind=Kind.BOOL, env=("TUNNEL_DISABLE_QUIC_PMTU",)),
    Flag("post-quantum", kind=Kind.BOOL, side=Side.BOTH, env=("TUNNEL_POST_QUANTUM",), aliases=("pq",)),
    Flag("features", kind=Kind.LIST, side=Side.BOTH, env=("TUNNEL_FEATURES",), aliases=("F",)),
    Flag("no-chunked-encoding", kind=Kind.BOOL, side=Side.BOTH, env=("TUNNEL_NO_CHUNKED_ENCODING",)),
    Flag("proxy-connect-timeout", kind=Kind.DURATION, side=Side.BOTH),
    Flag("proxy-tls-timeout", kind=Kind.DURATION, side=Side.BOTH),
    Flag("proxy-tcp-keepalive", kind=Kind.DURATION, side=Side.BOTH),
    Flag("proxy-keepalive-timeout", kind=Kind.DURATION, side=Side.BOTH),
    Flag("proxy-keepalive-connections", kind=Kind.INTEGER, side=Side.BOTH),
    Flag("name", env=("TUNNEL_NAME",), aliases=("n",)),
    Flag("icmpv4-src", side=Side.RUN, env=("TUNNEL_ICMPV4_SRC",)),
    Flag("icmpv6-src", side=Side.RUN, env=("TUNNEL_ICMPV6_SRC",)),
    Flag("max-active-flows", kind=Kind.INTEGER, side=Side.RUN, env=("TUNNEL_MAX_ACTIVE_FLOWS",), reported=True),
)  # fmt: skip

FLAGS: Final = _USED + _ACCEPTED
