"""Paths below `/cdn-cgi/`, which are the edge's own on every name and never reach a service.

`trace` says what the edge sees of a visitor, `error/N` shows the page of an error. On a name behind Access: `access/certs`
serves the team's keys, `access/get-identity` who is logged in, `access/logout` ends that. Anything else is a 404. ("/cdn-cgi/
endpoint", "Application token", "Validate JWTs" of developers.cloudflare.com; that get-identity answers 400 without a login is
seen in public.)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prx.core.numbers import whole
from prx.lab.edge.public import error_pages
from prx.lab.edge.public.access import CERTS_PATH, RESOURCE_PATH, Fronts
from prx.lab.protocol.headers import Headers

if TYPE_CHECKING:
    from prx.lab.edge.public.relay import Visit

PREFIX: Final = b"/cdn-cgi/"
_IDENTITY: Final = "/cdn-cgi/access/get-identity"
_LOGOUT: Final = "/cdn-cgi/access/logout"
_ERROR: Final = "/cdn-cgi/error/"
TEAM_DOMAIN: Final = ".cloudflareaccess.com"
_JSON: Final = (b"Content-Type", b"application/json")
_FORGET: Final = b"=; Path=/; HttpOnly; Secure; Expires=Thu, 01 Jan 1970 00:00:01 GMT"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status, headers, body."""

    status: int
    headers: Headers
    body: bytes


def concerns(path: bytes, *, protected: bool) -> bool:
    """Return whether a path is the edge's own."""
    return path.startswith(PREFIX) or (protected and path.startswith(RESOURCE_PATH.encode()))


def answer(visit: Visit, fronts: Fronts, now: float) -> Reply | error_pages.Page:
    """Answer a request for one of the edge's own paths; `now` in seconds since 1970."""
    path = visit.asked.path.decode("latin-1").partition("?")[0]
    if path == "/cdn-cgi/trace":
        return Reply(200, [(b"Content-Type", b"text/plain"), (b"Cache-Control", b"no-cache")], _trace(visit, now))
    if path.startswith(_ERROR):
        code = path.removeprefix(_ERROR)
        return error_pages.BY_CODE.get(whole(code) or 0, error_pages.NOT_FOUND)
    if path == CERTS_PATH and visit.asked.hostname.endswith(TEAM_DOMAIN):
        return Reply(200, [_JSON], json.dumps(fronts.keys()).encode())
    front = fronts.find(visit.asked.hostname)
    if front is None:
        return error_pages.NOT_FOUND
    if path.startswith(RESOURCE_PATH):
        facts = fronts.resource(visit.asked.hostname, front, path.removeprefix(RESOURCE_PATH))
        return Reply(200, [_JSON], json.dumps(facts).encode())
    if path == CERTS_PATH:
        return Reply(200, [_JSON], json.dumps(fronts.keys()).encode())
    if path == _IDENTITY:
        identity = fronts.identity(visit.asked.hostname, front, visit.asked.headers, ip=visit.visitor.peer)
        if identity is None:
            return Reply(400, [_JSON], b'{"err":"no app token set"}')
        return Reply(200, [_JSON], json.dumps(identity).encode())
    if path == _LOGOUT:
        cookies = [(b"Set-Cookie", name + _FORGET) for name in (b"CF_Authorization", b"CF_AppSession")]
        return Reply(
            200, [(b"Content-Type", b"text/html"), *cookies], b"<!DOCTYPE html><title>Logged out</title>You have logged out.\n"
        )
    return error_pages.NOT_FOUND


def _trace(visit: Visit, now: float) -> bytes:
    """Write what the edge sees, as `name=value` lines."""
    secure = visit.visitor.scheme == "https"
    agent = visit.asked.values.get(b"user-agent", b"").decode("latin-1")
    facts = {
        "fl": "0f0",
        "h": visit.asked.authority.decode("latin-1"),
        "ip": visit.visitor.peer,
        "ts": f"{now:.3f}",
        "visit_scheme": visit.visitor.scheme,
        "uag": agent,
        "colo": "LAB",
        "sliver": "none",
        "http": visit.visitor.version,
        "loc": "XX",
        "tls": "TLSv1.3" if secure else "off",
        "sni": "plaintext" if secure else "off",
        "warp": "off",
        "gateway": "off",
        "rbi": "off",
        "kex": "none",
    }
    return "".join(f"{name}={value}\n" for name, value in facts.items()).encode("latin-1")
