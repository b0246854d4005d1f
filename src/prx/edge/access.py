"""An Access front: what stands before a protected name, as far as a client without a browser can see it.

A visitor who sends the right `CF-Access-Client-Id` and `CF-Access-Client-Secret` passes. Any other is sent to a login
page (302 to `https://TEAM.cloudflareaccess.com/cdn-cgi/access/login/HOSTNAME?…`, as an Allow policy does) or gets 403 (as
a Service Auth policy does). There is no login behind the redirect.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from prx.protocol.headers import Headers

CLIENT_ID = b"cf-access-client-id"
CLIENT_SECRET = b"cf-access-client-secret"


@dataclass(frozen=True)
class AccessFront:
    """Who passes (one service token; none where it is empty), and what the others get."""

    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    deny: Literal["login", "forbidden"] = "login"
    team: str = "lab"

    def __post_init__(self) -> None:
        if self.deny not in ("login", "forbidden"):
            raise ValueError(f"unknown deny {self.deny!r}; expected 'login' or 'forbidden'")

    def passes(self, headers: Mapping[bytes, bytes]) -> bool:
        """Say whether a request with these headers (lower-case names) passes."""
        if not self.client_id:
            return False
        right_id = hmac.compare_digest(headers.get(CLIENT_ID, b""), self.client_id.encode())
        right_secret = hmac.compare_digest(headers.get(CLIENT_SECRET, b""), self.client_secret.encode())
        return right_id and right_secret

    def refusal(self, hostname: str, target: str) -> tuple[int, Headers, bytes]:
        """Give status, headers and body for a visitor who does not pass; `target` is the path that was asked for."""
        headers = [(b"Cache-Control", b"private, max-age=0, no-store, no-cache, must-revalidate")]
        if self.deny == "forbidden":
            page = b"<!DOCTYPE html><html><head><title>Forbidden</title></head><body>Forbidden. Cloudflare Access</body></html>"
            return 403, [*headers, (b"Content-Type", b"text/html")], page
        location = (
            f"https://{self.team}.cloudflareaccess.com/cdn-cgi/access/login/{hostname}?redirect_url={quote(target, safe='')}"
        )
        return 302, [*headers, (b"Location", location.encode())], b""
