"""Redirects of the service, followed on this machine: what is a circle for visitors, and what may lead somewhere."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.lacks import no_descriptors
from tests.support.servers import Servers

from prx.config.schema import TunnelSettings
from prx.core.evidence import Public
from prx.runtime.probes.redirect_circle import HOPS, REST, RedirectCircle

PUBLIC = "https://app.example.com"
Pages = dict[str, str]  # path → where it redirects to, with further header lines; a page without one answers 200

CIRCLES: dict[str, tuple[Pages, tuple[str, ...]]] = {
    "a slash at the end": ({"/": "/app", "/app": "/app/", "/app/": "/app"}, ("/", "/app", "/app/", "/app")),
    "two pages": ({"/": "/login", "/login": "/"}, ("/", "/login", "/")),
    "the whole URL": ({"/": f"{PUBLIC}/en", "/en": f"{PUBLIC}:443/"}, ("/", "/en", "/")),
    "later": ({"/": "/a", "/a": "/b", "/b": "/b"}, ("/", "/a", "/b", "/b")),
    "a query": ({"/": "/?lang=en", "/?lang=en": "/"}, ("/", "/?lang=en", "/")),
}
NO_CIRCLES: dict[str, Pages] = {
    "it leads on": {"/": "/login"},
    "a cookie on the way": {"/": "/login", "/login": "/\r\nSet-Cookie: a=b"},
    "a cookie at the first": {"/": "/login\r\nSet-Cookie: a=b", "/login": "/"},
    "another name": {"/": "/login", "/login": "https://id.example.com/"},
    "another port": {"/": "/login", "/login": f"{PUBLIC}:8443/"},
    "never the same": {f"/{'a' * number}": f"/{'a' * (number + 1)}" for number in range(HOPS + 3)},
}


class Service:
    """A service that redirects; `asked` has the paths and schemes, `pages` may be changed."""

    def __init__(self, pages: Pages) -> None:
        self.pages = dict(pages)
        self.asked: list[tuple[str, str, str]] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        path = head[0].split()[1]
        self.asked.append((path, fields["host"], fields.get("x-forwarded-proto", "")))
        where = self.pages.get(path)
        first = f"HTTP/1.1 302 Found\r\nLocation: {where}" if where else "HTTP/1.1 200 OK"
        writer.write(f"{first}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


async def find(servers: Servers, pages: Pages, *, public: Public | None = None) -> tuple[tuple[str, ...], Service]:
    """Return what is found of a service with these pages, of which "/" is asked for in public."""
    service = Service(pages)
    served = await servers.start(service.answer, read_head=False)
    circle = RedirectCircle(asyncio.get_running_loop().time)
    first = public or Public(302, location=pages["/"].partition("\r")[0])
    return await circle.find(TunnelSettings(local_addr=f"127.0.0.1:{served.port}"), f"{PUBLIC}/", first), service


@pytest.mark.parametrize(("pages", "paths"), CIRCLES.values(), ids=CIRCLES)
async def test_a_circle_is_proven(servers: Servers, pages: Pages, paths: tuple[str, ...]) -> None:
    """The URLs in order, the last of which was asked before; the service is asked as the connector asks it."""
    found, service = await find(servers, pages)
    assert tuple(url.removeprefix(PUBLIC).removeprefix(":443") for url in found) == paths
    assert {(host, scheme) for _, host, scheme in service.asked} <= {
        ("app.example.com", "https"),
        ("app.example.com:443", "https"),
    }


@pytest.mark.parametrize("pages", NO_CIRCLES.values(), ids=NO_CIRCLES)
async def test_what_may_lead_somewhere_is_none(servers: Servers, pages: Pages) -> None:
    """A cookie, another name or port, a page, more hops than are followed: nothing is proven, and little is asked."""
    first = Public(302, location=next(iter(pages.values())).partition("\r")[0])
    found, service = await find(servers, {**pages, "/": pages.get("/", "/a")}, public=first if "/" in pages else None)
    assert found == ()
    assert len(service.asked) <= HOPS


@pytest.mark.parametrize(
    "public",
    [
        Public(200, location="/login"),
        Public(302, location=""),
        Public(302, location="/login", sets_cookie=True),
        Public(302, location="/login", access=True),
        Public(302, location="https://id.example.com/"),
        Public(302, location="/"),
        Public(302, location="http://[::1"),
    ],
)
async def test_nothing_is_asked_without_need(servers: Servers, public: Public) -> None:
    """No redirect, one that sets a cookie, Access's own, one to another name, one that is a circle by itself."""
    found, service = await find(servers, {"/": "/login", "/login": "/"}, public=public)
    assert (found, service.asked) == ((), [])


async def test_a_service_that_answers_otherwise_here_proves_nothing(servers: Servers) -> None:
    """The circle has to begin with the redirect that visitors get."""
    found, _ = await find(servers, {"/": "/a", "/a": "/"}, public=Public(302, location="/b"))
    assert found == ()


async def test_what_leads_on_is_not_followed_again_for_a_while(servers: Servers) -> None:
    """A login page is asked for once in ten minutes, another redirect at once, and a circle at every check."""
    service, now = Service({"/": "/login"}), [0.0]
    served = await servers.start(service.answer, read_head=False)
    settings, circle = TunnelSettings(local_addr=f"127.0.0.1:{served.port}"), RedirectCircle(lambda: now[0])

    async def asks(location: str) -> int:
        before = len(service.asked)
        await circle.find(settings, f"{PUBLIC}/", Public(302, location=location))
        return len(service.asked) - before

    assert (await asks("/login"), await asks("/login")) == (2, 0)
    now[0] += REST
    assert await asks("/login") == 2
    service.pages = {"/": "/a", "/a": "/"}
    assert [await asks("/a") for _ in range(2)] == [2, 2]


@pytest.mark.parametrize("pages", [pages for pages, _ in CIRCLES.values()], ids=CIRCLES)
async def test_what_could_not_be_asked_is_asked_again(servers: Servers, pages: Pages) -> None:
    """Without a descriptor nothing is learned, so that a circle does not stay hidden for ten minutes."""
    service = Service(pages)
    served = await servers.start(service.answer, read_head=False)
    settings, public = TunnelSettings(local_addr=f"127.0.0.1:{served.port}"), Public(302, location=pages["/"])
    circle = RedirectCircle(asyncio.get_running_loop().time)
    with no_descriptors():
        assert await circle.find(settings, f"{PUBLIC}/", public) == ()
    assert service.asked == []
    assert await circle.find(settings, f"{PUBLIC}/", public)
