"""A team with signing keys, its JWKS endpoint on loopback, and a clock that stands still until it is moved."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support.threads import in_thread

from prx.access.verify import AccessVerifier

NOW = 1_800_000_000.0
AUD = "32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228"
ISSUER = "https://my-team.cloudflareaccess.com"


class Team:
    """Signs tokens as Access does, and publishes its public keys."""

    def __init__(self, keys: dict[str, rsa.RSAPrivateKey]) -> None:
        self.all_keys = keys
        self.published = ["first"]
        self.document: bytes | None = None
        self.status = 200
        self.fetches = 0
        self.now = NOW
        self.uptime = 1000.0
        self.url = ""
        self.asked = threading.Event()
        self.hold: threading.Event | None = None

    def sign(self, kid: str = "first", *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Sign a person's token; changes set claims, None removes one."""
        claims: dict[str, Any] = {
            "aud": [AUD],
            "email": "user@example.com",
            "exp": self.now + 60,
            "iat": self.now - 5,
            "nbf": self.now - 5,
            "iss": ISSUER,
            "type": "app",
            "sub": "7335d417-61da-459d-899c-0a01c76a2f94",
        }
        claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return jwt.encode(claims, self.all_keys[kid], algorithm="RS256", headers={"kid": kid, **(header or {})})

    def service(self, **changes: Any) -> str:
        """Sign a service token's token."""
        return self.sign(email=None, nbf=None, sub="", common_name="abc.access", **changes)

    def jwks(self) -> bytes:
        """Return the document of the endpoint."""
        keys = [
            json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.all_keys[kid].public_key()))
            | {"kid": kid, "use": "sig", "alg": "RS256"}
            for kid in self.published
        ]
        return json.dumps({"keys": keys, "public_cert": {"kid": "first", "cert": "…"}}).encode()

    def fetch(self, url: str) -> bytes:
        """Stand in for the network."""
        self.fetches += 1
        self.asked.set()
        if self.hold:
            assert self.hold.wait(30)
        if self.status != 200:
            raise ValueError(f"answers {self.status}")
        return self.jwks() if self.document is None else self.document

    def verifier(self, fetch: Callable[[str], bytes] | None = None, **arguments: Any) -> AccessVerifier:
        """Make a verifier on this team's clock."""
        return AccessVerifier(
            "my-team", AUD, now=lambda: self.now, clock=lambda: self.uptime, fetch=fetch or self.fetch, **arguments
        )

    def pass_time(self, seconds: float) -> None:
        """Move both clocks."""
        self.now += seconds
        self.uptime += seconds


@pytest.fixture(scope="session")
def rsa_keys() -> dict[str, rsa.RSAPrivateKey]:
    """Make the keys once: they take a while."""
    sizes = {"first": 2048, "second": 2048, "stranger": 2048, "small": 1024}
    return {kid: rsa.generate_private_key(65537, bits) for kid, bits in sizes.items()}


@pytest.fixture
def team(rsa_keys: dict[str, rsa.RSAPrivateKey]) -> Team:
    """Return a team that publishes its first key."""
    return Team(rsa_keys)


@pytest.fixture
def endpoint(team: Team) -> Iterator[str]:
    """Serve the team's keys over HTTP on loopback; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            team.fetches += 1
            body = team.jwks() if team.document is None else team.document
            self.send_response(team.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Keep silent."""

    with in_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}/cdn-cgi/access/certs"
