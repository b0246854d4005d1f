"""Rules with `access.required`: who passes, who does not, and that nothing leaves a service open by mistake."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.lab.connector.bench import BUILTIN_ONLY, Bench
from tests.lab.connector.child import started
from tests.lab.connector.mini_edge import finish
from tests.support.waits import PATIENCE

from prx.lab.connector.origin.access import CERTS_URL, AccessGate, AccessRule
from prx.lab.connector.origin.ingress import IngressError, OriginOptions, options_to_json, parse_options, parse_rules

AUD = "a" * 64
HEADER = b"cf-access-jwt-assertion"


@dataclass
class Team:
    """A team's keys and the address where they can be fetched."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    url: str = ""
    fetched: int = 0

    def token(self, *, key: rsa.RSAPrivateKey | None = None, **changes: Any) -> bytes:
        """A token that a visitor sends."""
        now = int(datetime.now(UTC).timestamp())
        claims = {"aud": [AUD], "iss": "https://team.cloudflareaccess.com", "iat": now, "exp": now + 600, "sub": "1",
                  "email": "a@b.test", "type": "app", **changes}  # fmt: skip
        return jwt.encode(claims, key or self.key, algorithm="RS256", headers={"kid": "k1"}).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the public keys."""
        await reader.readuntil(b"\r\n\r\n")
        self.fetched += 1
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        body = json.dumps({"keys": [{**key, "kid": "k1", "use": "sig", "alg": "RS256"}]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()


@pytest.fixture
async def team() -> AsyncIterator[Team]:
    """Yield a team whose keys are served on loopback."""
    made = Team()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/cdn-cgi/access/certs"
    yield made
    server.close()


RULE = AccessRule(required=True, team="team", audiences=(AUD,))


async def test_who_passes(team: Team) -> None:
    """A token of the team for the application passes; many at once fetch the keys once."""
    gate = AccessGate(team.url)
    found = await asyncio.gather(*(gate.refusal(RULE, [(HEADER, team.token())]) for _ in range(20)))
    assert (found, team.fetched) == ([""] * 20, 1)


BAD: dict[str, Any] = {
    "another audience": {"aud": ["b" * 64]},
    "another team": {"iss": "https://other.cloudflareaccess.com"},
    "expired": {"exp": 1_000_000},
    "not yet": {"nbf": 4_000_000_000},
    "another key": {"key": rsa.generate_private_key(65537, 2048)},
}


@pytest.mark.parametrize("kind", BAD)
async def test_bad_tokens(team: Team, kind: str) -> None:
    """A token with one thing wrong does not pass."""
    assert await AccessGate(team.url).refusal(RULE, [(HEADER, team.token(**BAD[kind]))])


async def test_what_is_no_token(team: Team) -> None:
    """None, two, an empty one, an unsigned one and noise do not pass."""
    gate, good = AccessGate(team.url), team.token()
    unsigned = jwt.encode({"aud": [AUD]}, "", algorithm="none").encode()
    for tokens in ([], [good, good], [b""], [unsigned], [b"\xff.\x00.x"], [good[:-3]]):
        assert await gate.refusal(RULE, [(HEADER, token) for token in tokens])
    assert await gate.refusal(RULE, [(b"cf-access-authenticated-user-email", b"a@b.test")])


@pytest.mark.parametrize(
    "rule",
    [
        AccessRule(required=True),
        AccessRule(required=True, team="team"),
        AccessRule(required=True, team="no/team", audiences=(AUD,)),
        AccessRule(required=True, team="team", audiences=("",)),
        AccessRule(required=True, team="team", audiences=(AUD,), environment="fed"),
    ],
)
async def test_rules_that_cannot_be_met(team: Team, rule: AccessRule) -> None:
    """A rule that names no team or no application admits no visitor, with a good token of another neither."""
    assert await AccessGate(team.url).refusal(rule, [(HEADER, team.token())])


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://keys.example.com/", "ftp://x", "nonsense"])
async def test_no_keys(team: Team, url: str) -> None:
    """If the keys cannot be fetched, or may not be trusted, no visitor passes."""
    assert await AccessGate(url).refusal(RULE, [(HEADER, team.token())])


ENTRY = {"required": True, "teamName": "team", "audTag": [AUD]}


def test_read() -> None:
    """The setting is read for all rules and for one, and shown as cloudflared shows it."""
    entries = [
        {"hostname": "a", "service": "http://a"},
        {"hostname": "b", "service": "http://a", "originRequest": {"access": {"required": False}}},
        {"service": "http_status:404"},
    ]
    rules = parse_rules({"originRequest": {"access": ENTRY}, "ingress": entries})
    assert [rule.options.access.required for rule in rules] == [True, False, True]
    assert rules[0].options.access == RULE
    assert options_to_json(rules[0].options)["access"] == ENTRY
    assert options_to_json(OriginOptions())["access"] == {"teamName": "", "audTag": None}


@pytest.mark.parametrize(
    "entry",
    [
        {"access": {**ENTRY, "required": "true"}},
        {"access": {**ENTRY, "required": 1}},
        {"access": {**ENTRY, "teamName": ""}},
        {"access": {**ENTRY, "audTag": AUD}},
        {"access": {**ENTRY, "audTag": [1]}},
        {"access": {**ENTRY, "environment": "moon"}},
        {"access": {"require": True, "teamName": "team", "audTag": [AUD]}},
        {"access": [ENTRY]},
        {"access": "required"},
        {"acces": ENTRY},
        {"Access": ENTRY},
        {"noTLSverify": True},
        {"noTLSVerify": "no"},
        {"proxyType": "shadow"},
    ],
)
def test_nothing_fails_open(entry: dict[str, Any]) -> None:
    """A setting that cannot be read to the letter is refused, and with it the whole configuration."""
    with pytest.raises(IngressError):
        parse_options(entry, OriginOptions())
    with pytest.raises(IngressError):
        parse_rules({"ingress": [{"service": "http://a", "originRequest": entry}]})


@BUILTIN_ONLY
async def test_behind_a_connector(bench: Bench, team: Team) -> None:
    """A pushed rule closes pages, WebSockets and the other services, and a bad push leaves it closed."""
    words = bench.arguments()
    async with started(words, bench.home, command=bench.command, **{CERTS_URL: team.url}) as child:
        await bench.up(child)
        rules = [
            {"hostname": "a.test", "service": bench.origin.url},
            {"hostname": "hello.test", "service": "hello_world"},
            {"service": "http_status:200"},
        ]
        config = {"originRequest": {"access": ENTRY}, "ingress": rules}
        assert await bench.edge.push(1, json.dumps(config)) == (1, True)
        good = [(HEADER, team.token())]
        for host in ("a.test", "hello.test", "else.test"):
            assert (await bench.edge.fetch("/status/200", host=host)).status == 403
            assert (await bench.edge.fetch("/status/200", host=host, headers=[(HEADER, b"a.b.c")])).status == 403
            assert (await bench.edge.fetch("/status/200", host=host, headers=good)).status == 200
        async with asyncio.timeout(PATIENCE):
            assert (await finish(await bench.edge.websocket("/raw"))).status == 403
        await child.line("ERR", "request filtered by middleware handler (AccessJWTValidator) due to:", "connIndex=0")
        misspelt = {"originRequest": {"acces": ENTRY}, "ingress": rules}
        assert await bench.edge.push(2, json.dumps(misspelt)) == (1, False)
        await child.line("ERR", "'acces' is not a setting that this connector knows; did you mean 'access'?")
        assert (await bench.edge.fetch("/status/200")).status == 403
        assert bench.origin.connections == 1
