"""Who gets an answer: hosts, origins, sessions, sizes, and what strangers write into logs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.waits import PATIENCE
from tests.web.conftest import KEY, Scene, ScriptedPrx, scene

from prx.config.cross import SHORTEST_PASSWORD
from prx.core.errors import PermanentError, UsageError
from prx.core.states import State
from prx.core.verdicts import Verdict
from prx.logs.records import LogRecord
from prx.web.address import Listen
from prx.web.keys import COOKIE_SECONDS, LINK_SECONDS, Keys, load_key
from prx.web.openapi import document

PASSWORD = "correct horse battery"


def paths(method: str) -> list[str]:
    """Return the paths of the API for a method, so that none that is added later goes without these tests."""
    found = [path for path, item in document()["paths"].items() if method in item]
    return [path.replace("{name}", "web").replace("{id}", "1") for path in found]


ACTIONS = paths("post")


async def raw(web: Scene, request: bytes, *, end: bool = False) -> bytes:
    """Send bytes and return everything that comes until the other side closes."""
    reader, writer = await asyncio.open_connection(web.listen.host, web.listen.port)
    try:
        writer.write(request)
        if end:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()


async def with_prx(web: Scene) -> ScriptedPrx:
    """Show a prx with one tunnel that is well."""
    prx = ScriptedPrx()
    prx.track("web", state=State.READY, verdict=Verdict.HEALTHY, url="https://a.example.com", proven=True, told=True)
    await web.start("web-1", prx)
    return prx


FOREIGN_HOSTS = (
    "evil.example",
    "evil.example:{port}",
    "localhost.evil.example:{port}",
    "127.0.0.1",
    "127.0.0.1:{other}",
    "192.0.2.7:{port}",
    "localhost:{port}:{port}",
    "",
    "a@localhost:{port}",
)


async def test_a_rebound_name_gets_nothing(web: Scene) -> None:
    """A page whose name was rebound to this address (DNS rebinding) gets no answer, a session or not, on any path."""
    for host in FOREIGN_HOSTS:
        name = host.format(port=web.listen.port, other=web.listen.port + 1)
        for path in ("/", "/api/v1/status", "/api/v1/events", "/login", "/static/prx.js"):
            assert (await web.ask(path, headers={**web.bearer, "host": name})).status_code == 421, (name, path)


async def test_the_own_names_are_answered(web: Scene) -> None:
    """The three names of this machine are its own."""
    for host in ("localhost", "LOCALHOST", "127.0.0.1", "[::1]"):
        assert (await web.ask("/", headers={**web.bearer, "host": f"{host}:{web.listen.port}"})).status_code == 200


async def test_two_hosts_or_none_are_refused(web: Scene) -> None:
    """A request with two Host headers, or with none, is ambiguous and goes no further."""
    own = f"host: {web.listen.authority}\r\n".encode()
    for lines in (own + b"host: evil.example\r\n", b""):
        answer = await raw(web, b"GET / HTTP/1.1\r\n" + lines + b"connection: close\r\n\r\n")
        assert answer.split(b" ", 2)[1] in {b"400", b"421"}


FORGED: tuple[dict[str, str], ...] = (
    {},
    {"x-prx-action": "1", "origin": "http://evil.example"},
    {"x-prx-action": "1", "origin": "null"},
    {"x-prx-action": "1", "origin": "https://{own}"},
    {"x-prx-action": "1", "origin": "http://localhost:1"},
    {"x-prx-action": "1", "sec-fetch-site": "cross-site"},
    {"x-prx-action": "1", "sec-fetch-site": "same-site"},
    {"x-prx-action": "0"},
)


async def test_another_site_cannot_act(web: Scene) -> None:
    """What another site can make a browser send (a form, a fetch) changes nothing, even with the session's cookie (CSRF)."""
    prx = await with_prx(web)
    cookie = {"cookie": f"prx_session_{web.listen.port}={web.dashboard.keys.cookie()}"}
    for headers in FORGED:
        sent = {name: value.format(own=web.listen.authority) for name, value in headers.items()}
        for path in ACTIONS:
            assert (await web.ask(path, method="POST", headers={**cookie, **sent})).status_code == 403, (path, sent)
    assert prx.asked == []


async def test_a_get_changes_nothing(web: Scene) -> None:
    """An image or a link to an action does nothing."""
    prx = await with_prx(web)
    for path in ACTIONS:
        assert (await web.ask(path, headers=web.action)).status_code == 405
    assert prx.asked == []


GUARDED = (
    *paths("get"),
    "/",
    "/tunnels/a/b",
    "/tunnels/a/b/qr.svg",
    "/tunnels/a/b/requests",
    "/tunnels/a/b/requests/1",
    "/tunnels/a/b/requests/diff?id=1&id=2",
    "/verdicts",
    "/static/prx.js",
)


async def test_another_user_of_the_machine_reads_nothing(web: Scene) -> None:
    """Loopback is open to every user of a machine; without a session or the token nothing is shown."""
    for path in GUARDED:
        for word in ("", "Bearer wrong", "Bearer x y", "Basic eDp5", "Bearer"):
            answer = await web.ask(path, headers={"authorization": word} if word else {})
            assert answer.status_code == (401 if path.startswith("/api/") else 303), (path, word)
            assert answer.headers.get("location", "/login") == "/login"


async def test_a_link_works_once(web: Scene) -> None:
    """The link of `prx web` makes a session by a strict, hidden cookie; a second one who uses it gets none."""
    link = f"/login?token={web.dashboard.keys.link()}"
    first, second = await web.ask(link, headers={}), await web.ask(link, headers={})
    assert first.status_code == 303
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert second.status_code == 401
    assert "set-cookie" not in second.headers
    session = first.headers["set-cookie"].partition(";")[0]
    assert (await web.ask("/", headers={"cookie": session})).status_code == 200


def test_links_and_sessions_end(tmp_path: Path) -> None:
    """A link is good for ten minutes, a session for seven days, neither in place of the other, and no other key makes them."""
    now = [1000.0]
    keys = Keys(KEY, lambda: now[0])
    link, cookie = keys.link(), keys.cookie()
    assert not keys.is_session(link)
    assert not keys.use_link(cookie)
    assert not Keys(b"x" * 32, lambda: now[0]).is_session(cookie)
    for bad in ("", ".", "..", "a.b.c", cookie[:-1], cookie + "0", "9" + cookie, "ä" * 20, "1" * 5000):
        assert not keys.is_session(bad)
    now[0] += LINK_SECONDS
    assert not keys.use_link(link)
    assert keys.is_session(cookie)
    now[0] += COOKIE_SECONDS
    assert not keys.is_session(cookie)


def test_the_key_is_private_and_stays(tmp_path: Path) -> None:
    """The key is made once, readable for its owner alone; a damaged one is an error that names the file."""
    path = tmp_path / "web.key"
    key = load_key(path)
    assert load_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("zz")
    with pytest.raises(PermanentError, match=r"web\.key"):
        load_key(path)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "2001:db8::1"])
def test_no_password_no_open_port(host: str) -> None:
    """It does not listen beyond this machine without a password."""
    with pytest.raises(UsageError, match="password"):
        Listen(host, 4141).require_guard(password=False)
    Listen(host, 4141).require_guard(password=True)


async def test_the_password_opens_and_tries_are_counted(tmp_path: Path) -> None:
    """The right password makes a session; wrong ones do not, and after ten in a minute none is even checked."""
    assert len(PASSWORD) >= SHORTEST_PASSWORD
    now, wall = [1_000.0], [1_000_000.0]
    async with scene(tmp_path / "run", password=PASSWORD, wall=lambda: wall[0], steady=lambda: now[0]) as web:
        own = {"origin": web.url, "content-type": "application/x-www-form-urlencoded"}

        async def log_in(password: str) -> int:
            return (await web.ask("/login", method="POST", headers=own, content=f"password={password}")).status_code

        assert await log_in("correct+horse+battery") == 303
        assert [await log_in(bad) for bad in ("", "x", "correct+horse+batter", "%ff")] == [401] * 4
        assert (await web.ask("/login", method="POST", headers={}, content="password=x")).status_code == 403
        for _ in range(6):
            await log_in("guess")
        assert await log_in("correct+horse+battery") == 429
        wall[0] += 7200  # a clock that is set changes no limit
        assert await log_in("correct+horse+battery") == 429
        wall[0] -= 14400
        now[0] += 61
        assert await log_in("correct+horse+battery") == 303


async def test_every_answer_is_locked_down(web: Scene) -> None:
    """No answer may run a foreign script, be framed, cached, guessed at, or read by another site; no inline script."""
    await with_prx(web)
    for path in (
        "/",
        "/tunnels/web-1/web",
        "/login",
        "/nope",
        "/api/v1/status",
        "/api/v1/nope",
        "/static/prx.js",
        "/tunnels/web-1/web/qr.svg",
    ):
        answer = await web.ask(path, headers={**web.bearer, "origin": "http://evil.example"})
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "server" not in answer.headers
        if "html" in answer.headers["content-type"]:
            assert "<style" not in answer.text
            assert " style=" not in answer.text
            assert " onclick" not in answer.text
            assert "http://" not in answer.text.replace("https://", "")


OUTSIDE = (
    "/static/../pages.py",
    "/static/..%2fpages.py",
    "/static/%2e%2e/keys.py",
    "/static//etc/passwd",
    "/static/prx.js%00.css",
    "/tunnels/..%2f..%2fetc/passwd",
    "/tunnels/web-1/..%2f..",
    "/static/",
)


async def test_no_path_leads_out(web: Scene) -> None:
    """A path reaches the two files that are served, and no other."""
    for path in OUTSIDE:
        head = f"GET {path} HTTP/1.1\r\nhost: {web.listen.authority}\r\nauthorization: {web.bearer['authorization']}\r\n"
        answer = await raw(web, head.encode() + b"connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 404"), path
        assert b"root:" not in answer
        assert b"import" not in answer


NAMES = ("a%0d%0aset-cookie:%20x=1", "a%0aX-Evil:1", "%22%3e%3cscript%3ealert(1)%3c/script%3e", "%e2%80%ae")


async def test_nothing_that_is_sent_becomes_a_header_or_markup(web: Scene) -> None:
    """A name in the path or the query is text: no header line, no element."""
    await with_prx(web)
    for name in NAMES:
        for path in (
            f"/tunnels/{name}/{name}",
            f"/?hours={name}&level={name}&text={name}",
            f"/login?token={name}",
            f"/?token={name}",
        ):
            answer = await web.ask(path)
            assert "x-evil" not in answer.headers
            assert "x=1" not in answer.headers.get("set-cookie", "")
            assert "<script>alert" not in answer.text
        refused = await web.ask(f"/api/v1/tunnels/{name}/restart", method="POST", headers=web.action)
        assert refused.status_code in {400, 404}
        assert refused.headers["content-type"] == "application/json"


async def test_hostile_log_lines_are_text(web: Scene, tmp_path: Path) -> None:
    """What visitors write into a log is shown as text: no element, no escape sequence, no turned direction, no second line."""
    log = tmp_path / "prx.log"
    evil = '<script>alert(1)</script><img src=x onerror="alert(2)">\x1b[2J\x1b]0;owned\x07\u202e{{ 9**9 }}\r\nX: y\u2028'
    lines = [LogRecord("2026-11-28T22:00:00.000Z", "web", level, evil, "cloudflared").to_json() for level in ("info", '"><b>')]
    log.write_text("".join(f"{line}\n" for line in [*lines, '{"at": cut']))
    prx = ScriptedPrx(log=str(log))
    prx.track("web", state=State.DEGRADED, verdict=Verdict.ORIGIN_ERROR, reason=evil, hint=evil, url="javascript:alert(1)")
    await web.start("web-1", prx)
    page = (await web.ask("/")).text
    told = (await web.ask("/api/v1/logs")).json()["lines"]
    for text in (page, told[0]["message"]):
        assert "owned" not in text
        assert not {"\x1b", "\x07", "\u202e", "\u2028"} & set(text)
    for forbidden in ("<script>alert", "<img src=x", "387420489", 'href="javascript', '"><b>'):
        assert forbidden not in page.replace(web.url, "")
    assert "&lt;script&gt;alert(1)" in page
    assert "\n" not in told[0]["message"]


async def test_a_gigabyte_is_refused_at_once(web: Scene) -> None:
    """A request that announces a gigabyte is refused by its head, one that sends without end after 64 KiB; a huge head, too."""
    own = f"host: {web.listen.authority}\r\nauthorization: {web.bearer['authorization']}\r\nx-prx-action: 1\r\n".encode()
    head = b"POST /api/v1/reload HTTP/1.1\r\n" + own
    assert (await raw(web, head + b"content-length: 1073741824\r\n\r\n")).startswith(b"HTTP/1.1 413")
    chunks = b"".join(b"4000\r\n" + b"x" * 0x4000 + b"\r\n" for _ in range(5))
    assert (await raw(web, head + b"transfer-encoding: chunked\r\n\r\n" + chunks)).startswith(b"HTTP/1.1 413")
    assert (await raw(web, b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 70_000)).startswith(b"HTTP/1.1 400")
    assert (await web.ask("/?text=" + "x" * 3000)).status_code == 414
