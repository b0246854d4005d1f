"""Answer for the management host: what machine this is, its metrics, its log.

The edge carries a request for that name to the connector that its token (`access_token` in the query) is for, and has checked
the token; here only the actor is read from it. `/metrics` is there unless `--management-diagnostics=false`. cloudflared has
`/debug/pprof` too, of Go's runtime. Observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from prx.lab.connector.log import Log
from prx.lab.connector.management.log_stream import LogStreams
from prx.lab.connector.origin.exchanges import Answer
from prx.lab.connector.origin.messages import Body, Request, Response
from prx.lab.connector.origin.tcp_over_websocket import accepted
from prx.lab.connector.state import State

_JSON: Final = b"application/json"
_TEXT: Final = b"text/plain; charset=utf-8"
_PORT: Final = 9  # discard; nothing is sent


@dataclass(frozen=True, slots=True)
class Page:
    """A whole answer."""

    status: int
    kind: bytes
    body: bytes


class Management:
    """The management host `hostname`, as this connector answers for it; `label` names this connector among others."""

    def __init__(
        self,
        hostname: str,
        state: State,
        log: Log,
        *,
        label: str = "",
        diagnostics: bool = True,
        streams: LogStreams | None = None,
        name: Callable[[], str] = socket.gethostname,
    ) -> None:
        self.hostname = hostname
        self._state = state
        self._label = label
        self._diagnostics = diagnostics
        self._streams = streams or LogStreams(log)
        self._name = name

    async def serve(self, request: Request, incoming: Body, response: Response) -> None:
        """Answer one request. Raises StreamError when the client is gone."""
        path, _, query = request.path.decode("latin-1").partition("?")
        actor = actor_of(parse_qs(query).get("access_token", [""])[-1])
        if actor is None:
            page = Page(
                401, _JSON, b'{"success":false,"errors":[{"code":1001,"message":"missing access_token query parameter"}]}'
            )
        elif path == "/logs" and request.websocket and request.header(b"sec-websocket-key"):
            await response.head(accepted(request), end=False, has_body=False)
            await self._streams.serve(actor, incoming, response)
            return
        else:
            page = self._page(path)
        body = b"" if request.method == b"HEAD" else page.body
        headers = [(b"Content-Type", page.kind), (b"Content-Length", b"%d" % len(page.body))]
        await response.head(Answer(page.status, "", headers), end=not body, has_body=True)
        if body:
            await response.data(body)
            await response.end([])

    def _page(self, path: str) -> Page:
        match path:
            case "/ping":
                return Page(200, _TEXT, b"")
            case "/host_details":
                return Page(200, _JSON, json.dumps(self._host_details(), separators=(",", ":")).encode())
            case "/metrics" if self._diagnostics:
                return Page(200, b"text/plain; version=0.0.4; charset=utf-8", self._state.metrics.render().encode())
            case _:
                return Page(404, _TEXT, b"404 page not found\n")

    def _host_details(self) -> dict[str, str]:
        name = f"custom:{self._label}" if self._label else self._name()
        address = next((local_address(each.edge_ip) for each in self._state.connections.values()), "")
        return {"connector_id": str(self._state.connector_id), "ip": address, "hostname": name}


def actor_of(token: str) -> str | None:
    """Return who holds a token, '' if it does not say; None if it is no token. The edge has checked its signature."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return str(claims["actor"]["id"])
    except (KeyError, TypeError):
        return ""
    except (ValueError, RecursionError):
        return None


def local_address(edge: str) -> str:
    """Return the address from which this machine reaches another; empty if it does not."""
    family = socket.AF_INET6 if ":" in edge else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((edge, _PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return ""
