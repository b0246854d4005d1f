"""The table, for a terminal and for the documentation."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.capabilities import CAPABILITIES
from tests.conformance.outcome import Outcome, Verdict
from tests.conformance.run import Results

DIFFERENCES = Path(__file__).with_name("differences.md")  # written by hand, with lines too long for code
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "conformance.md"

HEAD = """# What a tunnel carries

Measured through the lab by `make conformance`, which asks the real cloudflared and the builtin connector, each over HTTP/2 and
over QUIC, with a quick tunnel and with a named one, and writes this page. A cell is as good as the worse of the two tunnels.
The lab refuses nothing here (`--limits none`): what Cloudflare refuses, whatever a tunnel can carry, is [on a page of its
own](../explanation/where-the-lab-is-not-cloudflare.md).

* **ok**: bodies byte for byte, heads as described
* **not carried**: it does not arrive, and nothing else is disturbed
* **differs**: it arrives otherwise than described; what was seen stands below the table
* **not available**: the column could not be measured; the reason stands below the table
"""

NOTES = """
## What stands behind it

**Trailers.** Over HTTP/2 a connector forwards those of a visitor's trailers that its `Trailer` header names, and all of the
service's. Over QUIC a request and its answer are a head and a body, with no place for them.

**1xx.** The edge itself answers a visitor's `Expect: 100-continue`, over HTTP/1.1 and HTTP/2, and does not pass it on. An
edge that did would find: over HTTP/2 the connector answers 100 and the service is not asked; over QUIC the header reaches the
service, and cloudflared holds the body back until the service says 100, for 1 s at most, while the builtin connector sends it
at once. A 103 of the service ends in either connector; the lab's edge would show one to the visitor.

**gRPC.** It wants a service with TLS and HTTP/2, `originRequest.http2Origin = true` in the tunnel's configuration (`prx lab
push`), and a connector over HTTP/2. Over QUIC all messages arrive in both directions, but the status that follows them is
lost with the trailers, and the client says `UNKNOWN`; only a call that fails before its first message keeps its status,
because that stands in the head. Without `http2Origin` a service that speaks nothing but HTTP/2 is a 502. On Cloudflare itself
gRPC through the public hostname of a tunnel [is not
supported](https://developers.cloudflare.com/network/grpc-connections/#limitations), whatever a connector can do.

**TCP.** A rule may lead to `tcp://HOST:PORT` (also `ssh://`, `rdp://`, `smb://`, or `bastion`, where the visitor names the
address); the visitor is `cloudflared access tcp --hostname NAME --url 127.0.0.1:PORT`, or any WebSocket client that sends
binary messages. The connector dials before it accepts the WebSocket, so a service that refuses is a 502, and `cloudflared
access` closes its local connection. When either side ends, both directions end: nothing can be half closed, and the service's
end comes without a close frame. cloudflared gives the service only the first 16,384 bytes of each message (its own `access
tcp` sends none that is longer); the builtin connector gives it all. Such rules come from the tunnel's configuration;
`local_addr` itself is HTTP or HTTPS, because prx proves a tunnel by asking through it. `socks-proxy`, and `proxyType: socks`,
are left to cloudflared.
"""


def table(results: Results) -> str:
    """Return the table, a row for each capability; it is Markdown and can be read as it is."""
    width = max(len(row.title) for row in CAPABILITIES)
    heads = [str(column) for column in results]
    lines = [_line("capability".ljust(width), heads), _line("-" * width, ["-" * len(head) for head in heads])]
    for number, row in enumerate(CAPABILITIES):
        cells = [
            outcomes[number].verdict.value.ljust(len(head)) for head, outcomes in zip(heads, results.values(), strict=True)
        ]
        lines.append(_line(row.title.ljust(width), cells))
    return "\n".join(lines + _seen(results))


def render(results: Results) -> str:
    """Return the whole page."""
    return f"{HEAD}\n{table(results)}\n{NOTES}\n{DIFFERENCES.read_text(encoding='utf-8')}"


def _line(first: str, cells: list[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"


def _seen(results: Results) -> list[str]:
    """Return what was seen and differs from what is described, each thing once."""
    told: dict[str, dict[str, None]] = {}  # a dict keeps order, and each column once
    for column, outcomes in results.items():
        for row, outcome in zip(CAPABILITIES, outcomes, strict=True):
            if line := _explain(row.title, outcome):
                told.setdefault(line, {})[str(column)] = None
    return ["", *(f"* {line} ({', '.join(columns)})" for line, columns in told.items())] if told else []


def _explain(title: str, outcome: Outcome) -> str:
    if outcome.verdict is Verdict.NOT_AVAILABLE:
        return f"not available: {outcome.seen}"
    return f"{title}: {outcome.seen}" if outcome.seen else ""
