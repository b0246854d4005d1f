"""A protected quick tunnel of this connector, with the lab as Cloudflare: who passes, and what everybody else gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from tests.lab.connector.child import Child, run, started
from tests.lab.edge.conftest import events, lab, limits  # noqa: F401 - fixtures
from tests.support.origin import Origin, run_origin
from tests.support.wire import Reply, visiting

from prx.lab import Lab
from prx.lab.connector.origin.messages import Request
from prx.lab.connector.protected.guard import CALLBACK, SESSION_COOKIE, STATE_COOKIE, Guard, GuardError, Refusal
from prx.lab.connector.protected.guests import GuestList
from prx.lab.edge.public.login import HOST
from prx.lab.faults import QuickService
from prx.runtime.probes.access import access_answer

GUEST, STRANGER = "Ada@Example.com", "eve@elsewhere.example"
FORM = ("Content-Type", "application/x-www-form-urlencoded")


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """Yield a running origin."""
    async with run_origin() as running:
        yield running


def words(lab: Lab, origin: Origin, protocol: str, *allowed: str) -> list[str]:  # noqa: F811 - an argument
    """Return the command line of a protected quick tunnel."""
    edges = [word for address in lab.edge_addrs for word in ("--edge", address)]
    mails = [word for rule in allowed for word in ("--allowed-mail", rule)]
    common = ["--cacert", str(lab.ca_file), "--quick-service", lab.quick_service, "--metrics", "127.0.0.1:0"]
    return ["tunnel", *edges, *common, "--protocol", protocol, *mails, "--url", f"http://127.0.0.1:{origin.port}"]


@pytest.fixture
async def child(lab: Lab, origin: Origin, protocol: str, tmp_path: Path) -> AsyncIterator[Child]:  # noqa: F811 - a fixture
    """Yield a connector that lets two addresses and a domain in."""
    flags = words(lab, origin, protocol, "ada@example.com,bob@example.com", "*@guests.example")
    async with started(flags, tmp_path) as running, asyncio.timeout(60):
        await lab.wait_for(lambda lab: any(tunnel.connections for tunnel in lab.tunnels()))
        yield running


@pytest.fixture
def name(lab: Lab, child: Child) -> str:  # noqa: F811 - a fixture
    """Return the tunnel's name."""
    return lab.tunnels()[0].hostname


class Browser:
    """A visitor who keeps cookies."""

    def __init__(self, lab: Lab, name: str) -> None:  # noqa: F811 - an argument
        self.lab = lab
        self.name = name
        self.cookies: dict[str, str] = {}

    async def ask(
        self, path: str, method: str = "GET", body: bytes = b"", host: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> Reply:
        """Ask, with the cookies of before, and keep those of the answer."""
        jar = "; ".join(f"{key}={value}" for key, value in self.cookies.items() if value)
        sent = (*headers, *((("Cookie", jar),) if jar and not host else ()))
        if body:
            sent = (*sent, ("Content-Length", str(len(body))))
        async with visiting(self.lab, host or self.name) as visitor:
            await visitor.send_head(method, path, sent)
            await visitor.send_body([body] if body else [])
            reply = await visitor.read_reply()
        for key, value in reply.headers:
            if key.lower() == "set-cookie" and not host:
                cookie, _, content = value.partition(";")[0].partition("=")
                self.cookies[cookie] = content
        return reply

    async def sign_in(self, email: str, path: str = "/secret?x=1") -> Reply:
        """Go the whole way, from a closed door to the callback's answer."""
        login = urlsplit((await self.ask(path)).header("location"))
        asked = f"{login.path}?{login.query}&{urlencode({'email': email})}"
        found = (await self.ask(asked, host=login.hostname or "", headers=(("Accept", "application/json"),))).json()
        assert urlsplit(found["callback"]).path == CALLBACK
        return await self.call_back(found["state"], found["assertion"])

    async def call_back(self, state: str, assertion: str) -> Reply:
        """Send what the login's page would send."""
        body = urlencode({"state": state, "assertion": assertion}).encode()
        return await self.ask(CALLBACK, "POST", body, headers=(FORM,))


async def test_a_guest_passes_after_the_login(lab: Lab, name: str, child: Child) -> None:  # noqa: F811 - a fixture
    """Login, assertion, callback, and in: the visitor's own cookies arrive at the service, the guard's do not."""
    browser = Browser(lab, name)
    first = await browser.ask("/secret?x=1")
    assert (first.status, first.body) == (302, b"")
    assert first.header("cache-control") == "private, no-store"
    assert first.header("referrer-policy") == "no-referrer"
    login = urlsplit(first.header("location"))
    assert (login.hostname, login.path, parse_qs(login.query)["hostname"]) == (HOST, "/authorize", [name])
    cookie = first.header("set-cookie")
    assert cookie.startswith(STATE_COOKIE)
    assert all(word in cookie for word in ("Max-Age=600", "HttpOnly", "Secure", "SameSite=None", f"Path={CALLBACK}"))
    assert access_answer(first.status, first.headers) is not None

    back = await browser.sign_in(GUEST)
    assert (back.status, back.header("location")) == (303, "/secret?x=1")
    browser.cookies["own"] = "kept"
    page = await browser.ask("/headers")
    assert page.status == 200
    assert page.header("cache-control") == "private, no-store"
    assert b"own=kept" in page.body
    assert SESSION_COOKIE.encode() not in page.body
    assert (await browser.ask("/echo", "POST", b"body")).status == 200
    told = "\n".join(child.lines)
    assert not any(word in told.lower() for word in ("ada@", "bob@", "guests.example", GUEST.lower()))


async def test_the_box_says_how_many_and_not_who(lab: Lab, origin: Origin, name: str, child: Child) -> None:  # noqa: F811
    """The box tells of the protection; the settings line masks the flag."""
    box = [line.partition("|")[2].strip(" |") for line in child.lines if " INF |" in line]
    assert box == [
        "Your protected quick Tunnel has been created! Visit it at (it may take some time to be reachable):",
        f"https://{name}",
        "Authentication: One-Time PIN (using Cloudflare Access)",
        "Allowed recipients: 2 addresses, 1 domain rule",
        f"Local origin: http://127.0.0.1:{origin.port}",
    ]
    assert "allowed-mail:*****" in await child.line("Settings: map[")
    assert lab.tunnels()[0].auth_mode == "otp"


@pytest.mark.parametrize("protocol", ["http2"])
async def test_strangers_stay_outside(lab: Lab, name: str, child: Child) -> None:  # noqa: F811 - a fixture
    """A visitor without a session gets nothing of the service, whatever is sent; all refusals are alike."""
    assert (await Browser(lab, name).sign_in(STRANGER)).status == 403
    assert (await Browser(lab, name).sign_in("x@sub.guests.example")).status == 403
    assert (await Browser(lab, name).sign_in("anybody@guests.example")).status == 303
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        reply = await Browser(lab, name).ask("/echo", method, b"x" if method == "POST" else b"")
        assert (reply.status, reply.body) == (401, b"Unauthorized\n")
    assert (await Browser(lab, name).ask("/", "HEAD")).status == 302
    forged = Browser(lab, name)
    for value in ("x", "a.b", "eyJleHAiOjk5OTk5OTk5OTk5fQ.AAAA"):
        forged.cookies = {SESSION_COOKIE: value}
        assert (await forged.ask("/")).status == 302
    assert child.process.returncode is None


@pytest.mark.parametrize("protocol", ["http2"])
async def test_a_callback_belongs_to_one_browser_and_is_good_once(lab: Lab, name: str) -> None:  # noqa: F811 - a fixture
    """Without the cookie, with another's state, twice, too long, or not a form: 400; a forged assertion: 403."""
    browser, other = Browser(lab, name), Browser(lab, name)
    state = parse_qs(urlsplit((await browser.ask("/")).header("location")).query)["state"][0]
    assertion = lab.quick_assertion(name, state, GUEST)
    assert (await other.call_back(state, assertion)).status == 400
    await other.ask("/")
    assert (await other.call_back(state, assertion)).status == 400
    assert (await browser.call_back(state, "x" * 5000)).status == 400
    assert (await browser.ask(CALLBACK, "POST", b"state=1", headers=(FORM,))).status == 400
    assert (await browser.ask(CALLBACK, "POST", b"{}", headers=(("Content-Type", "application/json"),))).status == 400
    assert (await browser.ask(CALLBACK)).status == 400
    kept = dict(browser.cookies)
    assert (await browser.call_back(state, assertion[:-4] + "AAAA")).status == 403
    browser.cookies = dict(kept)
    assert (await browser.call_back(state, assertion)).status == 303
    browser.cookies = dict(kept)
    assert (await browser.call_back(state, assertion)).status == 400


@pytest.mark.parametrize("protocol", ["http2"])
async def test_the_login_page_of_the_lab(lab: Lab, name: str) -> None:  # noqa: F811 - a fixture
    """It asks for an address, gives a form that a browser posts, and refuses what no connector asked for."""
    browser = Browser(lab, name)
    login = urlsplit((await browser.ask("/")).header("location"))
    path = f"{login.path}?{login.query}"
    assert b'type="email"' in (await browser.ask(path, host=HOST)).body
    form = (await browser.ask(f"{path}&email=ada@example.com", host=HOST)).body.decode()
    assert f'action="http://{name}:{urlsplit(lab.public).port}{CALLBACK}"' in form
    assert (await browser.ask("/authorize?hostname=web.localhost&state=x", host=HOST)).status == 400
    assert (await browser.ask("/other", host=HOST)).status == 404
    keys = (await browser.ask("/.well-known/jwks.json", host=HOST)).json()["keys"]
    assert [(key["alg"], key["crv"]) for key in keys] == [("ES256", "P-256")]
    with pytest.raises(ValueError, match="no protected quick tunnel"):
        lab.quick_assertion("web", "x", GUEST)


async def test_no_tunnel_without_the_protection(lab: Lab, origin: Origin, tmp_path: Path) -> None:  # noqa: F811 - a fixture
    """A service that does not confirm the mode would have made a public tunnel: there is none, and nothing is served."""
    lab.inject(QuickService(kind="unprotected", status=200))
    code, _, told = await run(words(lab, origin, "http2", GUEST), tmp_path)
    assert code == 1
    assert told.splitlines()[-1].endswith("did not confirm the authentication mode")


@pytest.mark.parametrize(
    ("flags", "last"),
    [
        (["tunnel", "--allowed-mail", "nobody", "--url", "x"], "allowed mail rule 1 is not a valid email address"),
        (["tunnel", "--allowed-mail", "a@b.example,", "--url", "x"], "allowed mail rule 2 is empty"),
        (["tunnel", "--allowed-mail", "*@", "--url", "x"], "allowed mail rule 1 has an invalid wildcard domain"),
        (["tunnel", "run", "--token", "eyJh", "--allowed-mail", "a@b.example"], "only supported for Quick Tunnels"),
    ],
)
async def test_flags_that_cannot_be(flags: list[str], last: str, tmp_path: Path) -> None:
    """A wrong rule is named by its number, not by what it holds; a named tunnel has Access itself."""
    code, _, told = await run(flags, tmp_path)
    assert code != 0
    assert last in told or "token is not valid" in told
    assert "nobody" not in told


@pytest.mark.parametrize(
    ("rules", "address", "allowed"),
    [
        (["You@Example.com"], "you@example.COM", True),
        (["you@example.com"], "other@example.com", False),
        (["*@example.com"], "other@example.com", True),
        (["*@example.com"], "other@sub.example.com", False),
        (["*@example.com"], "other@notexample.com", False),
        (["*@example.com"], "a@b@example.com", False),
        ([" a@x.example , b@x.example "], "b@x.example", True),
        (["a@x.example"], "", False),
    ],
)
def test_rules(rules: list[str], address: str, *, allowed: bool) -> None:
    """Addresses and whole domains, never those below, whatever the case."""
    assert GuestList.read(rules).allows(address) is allowed


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (["a@x.example"], "1 address"),
        (["a@x.example,b@x.example"], "2 addresses"),
        (["*@x.example"], "1 domain rule"),
        (["*@x.example,*@y.example,a@z.example"], "1 address, 2 domain rules"),
    ],
)
def test_counting(rules: list[str], words: str) -> None:
    """How many, in words."""
    assert GuestList.read(rules).counted() == words


@pytest.mark.parametrize(
    "wrong", [["x"] * 101, ["a" * 400 + "@x.example"], ["a b@x.example"], ["a@x..example"], ["Ada <a@x.example>"]]
)
def test_wrong_rules(wrong: list[str]) -> None:
    """Refused, by their number."""
    with pytest.raises(ValueError, match="allowed mail rule"):
        GuestList.read(wrong)


# --- the guard alone, in a time of its own


class Body:
    """A request's body."""

    trailers = None

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    async def read(self) -> bytes:
        """Return everything, once."""
        data, self._data = self._data, b""
        return data


NAME = "a-b-c.trycloudflare.com"


class Alone:
    """A guard whose login service says what the test says."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.claims: dict[str, object] = {}
        login = "https://login.trycloudflare.com"
        self.guard = Guard(NAME, GuestList.read([GUEST]), login, verify=self._verify, wall=lambda: self.now)

    async def _verify(self, assertion: str) -> dict[str, object]:
        if assertion != "good":
            raise ValueError(assertion)
        return self.claims

    async def ask(
        self, path: str = "/", cookie: str = "", method: bytes = b"GET", body: bytes = b"", host: str = NAME
    ) -> Request | Refusal:
        """Ask for a path."""
        headers = [(b"cookie", cookie.encode())] if cookie else []
        if body:
            headers.append((b"content-type", b"application/x-www-form-urlencoded"))
        return await self.guard.admit(Request(method, path.encode(), host.encode(), headers), Body(body))

    async def began(self, path: str = "/") -> tuple[str, str]:
        """Begin a login; give state and cookie."""
        refusal = await self.ask(path)
        assert isinstance(refusal, Refusal)
        headers = dict(refusal.headers)
        state = parse_qs(urlsplit(headers[b"Location"].decode()).query)["state"][0]
        return state, headers[b"Set-Cookie"].decode().partition(";")[0]

    async def came_back(self, state: str, cookie: str, **claims: object) -> Refusal:
        """Call back with these claims."""
        now = int(self.now)
        good = {"iat": now, "exp": now + 120, "identity_exp": now + 86400, "type": "quick_tunnel_auth", "email": GUEST}
        other = {"state": claims.pop("state_claim")} if "state_claim" in claims else {}
        self.claims = {**good, "callback_host": NAME, "state": state, **claims, **other}
        refusal = await self.ask(CALLBACK, cookie, b"POST", urlencode({"state": state, "assertion": "good"}).encode())
        assert isinstance(refusal, Refusal)
        return refusal


def session(refusal: Refusal) -> str:
    """Return the session cookie of an answer."""
    cookies = [value.decode() for name, value in refusal.headers if name == b"Set-Cookie"]
    return next(cookie.partition(";")[0] for cookie in cookies if cookie.startswith(SESSION_COOKIE))


@pytest.mark.parametrize(("identity", "seconds"), [(86_400, 4 * 3600), (600, 600)])
async def test_a_session_ends(identity: int, seconds: int) -> None:
    """After four hours, or when the visitor's own identity ends."""
    alone = Alone()
    state, cookie = await alone.began()
    opened = session(await alone.came_back(state, cookie, identity_exp=int(alone.now) + identity))
    alone.now += seconds - 1
    assert isinstance(await alone.ask("/", opened), Request)
    assert isinstance(await alone.ask("/", f"{opened}; {opened}"), Refusal)
    alone.now += 1
    assert isinstance(await alone.ask("/", opened), Refusal)


async def test_a_login_has_ten_minutes() -> None:
    """Then the state is worth nothing."""
    alone = Alone()
    state, cookie = await alone.began()
    alone.now += 600
    assert (await alone.came_back(state, cookie)).status == 400


@pytest.mark.parametrize(
    "claims",
    [
        {"type": "other"}, {"callback_host": "x.trycloudflare.com"}, {"state_claim": "A" * 43}, {"email": STRANGER},
        {"email": ""}, {"iat": 1_800_000_031}, {"exp": 1_800_000_000}, {"exp": 1_800_000_121},
        {"identity_exp": 1_800_000_100}, {"iat": None},
        {"exp": "soon"}, {"identity_exp": True},
    ],
)  # fmt: skip
async def test_an_assertion_must_fit(claims: dict[str, Any]) -> None:
    """Made for this host, this login, this minute, and a guest: else 403, with nothing that says why."""
    alone = Alone()
    refusal = await alone.came_back(*await alone.began(), **claims)
    assert (refusal.status, refusal.answer()[1]) == (403, b"Forbidden\n")


@pytest.mark.parametrize(
    "path", ["//evil.example", "/%2F%2Fevil.example", "/%5Cevil.example", "/\\evil.example", "/a#b", CALLBACK + "?x=1"]
)
async def test_nobody_is_sent_elsewhere(path: str) -> None:
    """A path that a browser takes for another host is refused."""
    refusal = await Alone().ask(path)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400


@pytest.mark.parametrize(
    ("host", "status"), [(NAME.upper(), 302), (NAME + ":443", 302), (NAME + ":8443", 400), ("x.example", 400)]
)
async def test_only_its_own_name(host: str, status: int) -> None:
    """A login begins on the tunnel's own name."""
    refusal = await Alone().ask(host=host)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status


@pytest.mark.parametrize("wrong", ["example.com", "a.b.trycloudflare.com", "-a.trycloudflare.com", ""])
def test_only_quick_tunnels(wrong: str) -> None:
    """No other name can be guarded this way."""
    with pytest.raises(GuardError):
        Guard(wrong, GuestList.read([GUEST]), "https://login.trycloudflare.com", verify=Alone()._verify, wall=lambda: 0.0)
