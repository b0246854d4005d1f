"""Relays fitted to a changed configuration: wholly, or not at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.waits import PATIENCE, free_port
from tests.traffic.pieces import ask, service
from tests.traffic.test_catch import receiver

from prx.config.schema import Config, InspectSettings, TunnelSettings
from prx.core.errors import PrxError
from prx.logs.redact import Redactor
from prx.runtime.host.clock import SystemClock
from prx.traffic import catch as catch_module
from prx.traffic.inspector import Inspector

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def inspector(tmp_path: Path) -> AsyncIterator[Inspector]:
    """Return one that keeps requests below `tmp_path`."""
    made = Inspector(SystemClock(), Redactor(), lambda _level, _text: None, own="", folder=tmp_path / "caught")
    yield made
    await made.close()


def settings(port: int, /, **inspect: Any) -> TunnelSettings:
    """Return an inspected tunnel to a service on `port`."""
    return TunnelSettings(local_addr=f"127.0.0.1:{port}", inspect=InspectSettings(enabled=True, **inspect))


def config(**tunnels: TunnelSettings) -> Config:
    """Return a configuration of these tunnels."""
    return Config(tunnels=tunnels)


async def answered(inspector: Inspector, tunnel: TunnelSettings, name: str = "web") -> bytes | str:
    """Return what a visitor of the tunnel's relay gets."""
    return await ask(inspector.child_settings(name, tunnel).origin_port, GET)


async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with the port of the service."""
    await reader.readuntil(b"\r\n\r\n")
    port = writer.get_extra_info("sockname")[1]
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n%5d" % port)


@pytest.mark.parametrize("trouble", ["port", "other port", "certificate", "no file", "folder"])
async def test_what_cannot_be_had_leaves_everything_as_it_was(inspector: Inspector, tmp_path: Path, trouble: str) -> None:
    """One mistake in one tunnel, and no tunnel is fitted: relays lead where they led, and no port stays taken."""
    (tmp_path / "garbage.pem").write_text("no certificate")
    (tmp_path / "caught").mkdir()
    (tmp_path / "caught" / "second").write_text("a file")
    async with service(says) as old, service(says) as new:
        first = settings(old)
        inspector.take(config(web=first))
        free = free_port()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = taken.getsockname()[1]
            bad = {
                "port": settings(new, port=number),
                "other port": settings(new, port=number, catch=True),
                "certificate": replace(
                    settings(new), local_addr=f"https://127.0.0.1:{new}", origin_ca=str(tmp_path / "garbage.pem")
                ),
                "no file": replace(settings(new), local_addr=f"https://127.0.0.1:{new}", origin_ca=str(tmp_path / "none.pem")),
                "folder": settings(new, catch=True),
            }[trouble]
            with pytest.raises(PrxError):
                inspector.take(config(web=settings(new), third=settings(new, port=free), second=bad))
        answer = await answered(inspector, first)
        assert isinstance(answer, bytes)
        assert answer.endswith(b"%5d" % old)
        assert inspector.child_settings("second", bad) is bad
        inspector.take(config(web=settings(new), third=settings(new, port=free)))
        assert str(await answered(inspector, first)).endswith(f"{new}'")
        assert str(await answered(inspector, first, "third")).endswith(f"{new}'")


async def test_another_port_is_listened_on_while_the_old_one_serves_its_connector(inspector: Inspector) -> None:
    """A changed port is taken at the reload; the connector that still knows the old one is served until it is replaced."""
    async with service(says) as port:
        inspector.take(config(web=settings(port)))
        old = inspector.child_settings("web", settings(port)).origin_port
        wanted = settings(port, port=free_port())
        inspector.take(config(web=wanted))
        assert inspector.child_settings("web", wanted).origin_port == wanted.inspect.port
        assert [str(await ask(each, GET))[:12] for each in (old, wanted.inspect.port)] == ["b'HTTP/1.1 2"] * 2
        inspector.take(config(web=settings(port)))  # 0: any will do, so the one that it has
        assert inspector.child_settings("web", wanted).origin_port == wanted.inspect.port


ODD: tuple[Any, ...] = (5, -1, True, "x", 1.5, [], [1, 2], [["a", 1]], {}, {"a": "x"}, {"a": None}, {"a": {}}, "\ud800", 10**30)


@pytest.mark.parametrize("do", ["requests", "request", "replay"])
async def test_no_field_of_a_request_is_a_traceback(inspector: Inspector, do: str) -> None:
    """A client of another version may send anything: it is answered, or refused in words."""
    inspector.take(config(web=settings(9)))
    fields = ("tunnel", "positions", "after", "own", "limit", "filter", "id", "edit")
    for field in fields:
        for odd in ODD:
            with suppress(PrxError, UnicodeError):
                assert isinstance(await inspector.answer({"do": do, field: odd}), dict)
    for field in ("method", "path", "headers", "body"):
        for odd in ODD:
            edit = {"method": "GET", "path": "/", "headers": [], field: odd}
            with suppress(PrxError, UnicodeError):
                await inspector.answer({"do": "replay", "edit": edit})


async def refused(port: int) -> bool:
    """Return whether nothing listens on a port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    except ConnectionError:  # it closes just now
        return False
    writer.transport.abort()
    return False


async def ended(port: int) -> None:
    """Wait until nothing listens on a port."""
    async with asyncio.timeout(PATIENCE):
        while not await refused(port):  # noqa: ASYNC110 - a socket that closes sets no event
            await asyncio.sleep(0)


@pytest.mark.parametrize("way", ["taken out", "all taken out", "switched off", "another backend", "another port"])
async def test_a_relay_ends_with_its_last_connector(inspector: Inspector, way: str) -> None:
    """Whatever made it needless: it serves until no connector has its address, and leaves neither port nor memory taken."""
    async with service(says) as port:
        first, other = settings(port, port=free_port()), settings(port)
        inspector.take(config(web=first, shop=other))
        old = inspector.child_settings("web", first).origin_port
        new = {
            "taken out": config(shop=other),
            "all taken out": config(),
            "switched off": config(web=TunnelSettings(local_addr=f"127.0.0.1:{port}"), shop=other),
            "another backend": config(web=replace(first, backend="none", public_url="http://127.0.0.1:9/"), shop=other),
            "another port": config(web=settings(port, port=free_port()), shop=other),
        }[way]
        inspector.take(new)
        inspector.tidy(lambda _: False)
        assert str(await ask(old, GET))[:12] == "b'HTTP/1.1 2"
        inspector.tidy(lambda name: name == "web")
        await ended(old)
        assert [known.left for known in inspector._inspected.values() if known.left] == []
        assert inspector._inspected.keys() == ({"web", "shop"} if way == "another port" else {"shop"})
        inspector.tidy(lambda _: True)
        if way != "all taken out":
            assert isinstance(await answered(inspector, other, "shop"), bytes)
        inspector.take(config(web=first, shop=other))  # and its port is to be had again
        assert inspector.child_settings("web", first).origin_port == old
        assert isinstance(await answered(inspector, first), bytes)


async def test_a_relay_on_another_port_shows_requests_after_the_former_one_has_ended(inspector: Inspector) -> None:
    """Both are of one tunnel, whose requests are in one list."""
    async with service(says) as port:
        inspector.take(config(web=settings(port)))
        await answered(inspector, settings(port))
        wanted = settings(port, port=free_port())
        old = inspector.child_settings("web", wanted).origin_port
        inspector.take(config(web=wanted))
        inspector.tidy(lambda _: True)
        await ended(old)
        await answered(inspector, wanted)
        assert len((await inspector.answer({"do": "requests"}))["requests"]) == 2


async def test_a_relay_whose_requests_wait_for_the_service_hands_them_over_first(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered 202 is not left on the disk because its tunnel is taken out while the service restarts."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.02)
    down = free_port()
    catching = settings(down, catch=True)
    inspector.take(config(web=catching, shop=settings(9)))
    hook = b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    assert b" 202 " in bytes(str(await ask(inspector.child_settings("web", catching).origin_port, hook)), "ascii")
    inspector.take(config(shop=settings(9)))
    inspector.tidy(lambda _: True)
    assert "web" in inspector._inspected
    async with receiver(down, 1) as seen:
        pass
    async with asyncio.timeout(PATIENCE):
        while "web" in inspector._inspected:
            inspector.tidy(lambda _: True)
            await asyncio.sleep(0.01)
    assert [head.split()[1] for head in seen] == [b"/hook"]
