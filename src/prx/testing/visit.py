"""A visitor of a tunnel's public URL: the standard library's HTTP client, directed to the lab."""

from __future__ import annotations

import http.client
import json as json_text
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from prx.testing.hosted import refuse_on_loop

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers in their order (names as sent, with repeats) and body of a response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Read the body as JSON; ValueError if it is none."""
        return json_text.loads(self.body)

    def header(self, name: str) -> str:
        """Return the last value of a header, '' if there is none."""
        return {key.lower(): value for key, value in self.headers}.get(name.lower(), "")


def visit(
    url: str,
    *,
    method: str = "GET",
    body: bytes | str = b"",
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    timeout: float = 30,
) -> Answer:
    """Send one request to the public URL of a lab (`http://NAME.localhost:PORT/…`) and read the whole answer.

    Redirects are not followed. `json`: sent as the body, with its content type. OSError if there is no answer in time.
    """
    refuse_on_loop("visit")
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {"Host": parts.netloc, **_json_type(json), **(headers or {})}
    connection = http.client.HTTPConnection(_LOOPBACK, parts.port or 80, timeout=timeout)
    try:
        connection.request(method, target, _body(body, json), sent)
        response = connection.getresponse()
        return Answer(response.status, tuple(response.getheaders()), response.read())
    finally:
        connection.close()


def _json_type(value: Any) -> dict[str, str]:
    return {} if value is None else {"Content-Type": "application/json"}


def _body(body: bytes | str, value: Any) -> bytes | None:
    if value is not None:
        return json_text.dumps(value).encode()
    return (body.encode() if isinstance(body, str) else body) or None
