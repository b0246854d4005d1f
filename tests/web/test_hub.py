"""What the dashboard knows of each prx, and what it sends to those who follow the events."""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.waits import PATIENCE
from tests.web.conftest import Scene, ScriptedPrx, scene, serving

from prx.control.instance import sockets
from prx.core.errors import PrxError
from prx.core.events import Log
from prx.core.states import State
from prx.core.verdicts import Verdict
from prx.runtime.host.clock import SystemClock
from prx.web.hub import GONE_SECONDS, MOST_GONE, Hub, Seen
from prx.web.link import Link, linked
from prx.web.ring import RING_BYTES, RING_EVENTS, WAITING_EVENTS, Ring


@asynccontextmanager
async def stream(web: Scene, query: str = "", **headers: str) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    """Follow the events; yield (id, data) of each."""
    async with (
        httpx2.AsyncClient(timeout=PATIENCE) as client,
        client.stream("GET", f"{web.url}/api/v1/events{query}", headers={**web.bearer, **headers}) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")

        async def items() -> AsyncIterator[tuple[str, dict[str, Any]]]:
            name = ""
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    name = line[4:]
                elif line.startswith("data: "):
                    yield name, json.loads(line[6:])

        yield items()


async def until(items: AsyncIterator[tuple[str, dict[str, Any]]], event: str) -> tuple[str, dict[str, Any]]:
    """Return the first of that name."""
    async with asyncio.timeout(PATIENCE):
        async for name, data in items:
            if data["event"] == event:
                return name, data
    raise AssertionError(f"the stream ended before {event}")


def tunnel_of(web: Scene, key: str = "prx-1") -> dict[str, Any]:
    """Return the first tunnel of a prx as the dashboard knows it."""
    seen = next((item for item in web.dashboard.hub.seen if item.key == key), None)
    return dict(seen.tunnels[0]) if seen and seen.tunnels else {}


async def test_it_follows_what_a_prx_says(web: Scene) -> None:
    """A change of a tunnel is in the status, the page and the stream, as prx itself says it."""
    prx = ScriptedPrx()
    prx.track("web", state=State.STARTING)
    await web.start("prx-1", prx)
    async with stream(web) as items:
        await until(items, "hello")
        prx.become("web", State.DEGRADED, Verdict.ORIGIN_DOWN, "connection refused by 127.0.0.1:8080")
        _, told = await until(items, "verdict_changed")
    assert (told["prx"], told["tunnel"], told["new"]) == ("prx-1", "web", "origin_down")
    await web.until(lambda: tunnel_of(web).get("verdict") == "origin_down")
    answer = (await web.ask("/api/v1/status")).json()
    assert answer["prx"][0]["tunnels"][0]["reason"] == "connection refused by 127.0.0.1:8080"
    assert "the local service does not answer" in (await web.ask("/")).text


async def test_a_prx_that_ends_and_comes_back_is_said(web: Scene) -> None:
    """A prx that ends keeps its last standing, marked as gone; the one that takes its place is said to be a new one."""
    prx = ScriptedPrx(pid=1)
    prx.track("web", state=State.READY, verdict=Verdict.HEALTHY)
    async with serving(web.folder, "prx-1", prx):
        await web.until(lambda: bool(tunnel_of(web)))
    await web.until(lambda: web.dashboard.hub.seen[0].gone_at is not None)
    assert "prx is not running" in (await web.ask("/")).text
    assert (await web.ask("/api/v1/tunnels/web/restart", method="POST", headers=web.action)).status_code == 400
    again = ScriptedPrx(pid=2)
    again.track("web", state=State.READY, verdict=Verdict.HEALTHY)
    await web.start("prx-1", again)
    assert "prx was started again" in (await web.ask("/")).text


async def test_a_silent_prx_is_neither_gone_nor_well(web: Scene) -> None:
    """One that listens and does not answer is unknown: said so, with its last standing as older."""
    open_writers: list[asyncio.StreamWriter] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.append(writer)
        await reader.read()

    silent = await asyncio.start_unix_server(hold, path=web.folder / "frozen.sock")
    async with silent:
        await web.until(lambda: any(seen.silent for seen in web.dashboard.hub.seen))
        assert (await web.ask("/api/v1/status")).json()["prx"][0]["state"] == "silent"
    for writer in open_writers:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def test_a_dead_socket_is_nothing(web: Scene) -> None:
    """The socket that a killed prx left behind is not a prx."""
    silent = await asyncio.start_unix_server(lambda _reader, writer: writer.close(), path=web.folder / "dead.sock")
    silent.close()
    (web.folder / "text.sock").write_text("no socket")
    prx = ScriptedPrx()
    prx.track()
    await web.start("prx-1", prx)
    assert [seen.key for seen in web.dashboard.hub.seen] == ["prx-1"]


async def test_a_stream_goes_on_where_it_broke(web: Scene) -> None:
    """A client that comes back with the id of its last event gets every event since, once; a new life begins with `reset`."""
    prx = ScriptedPrx()
    prx.track()
    await web.start("prx-1", prx)
    async with stream(web) as items:
        await until(items, "hello")
        prx.publish(Log(tunnel="web", level="info", message="one"))
        last, _ = await until(items, "log")
    for word in ("two", "three"):
        prx.publish(Log(tunnel="web", level="info", message=word))
    for how in ({"query": f"?after={last}"}, {"last-event-id": last}):
        async with stream(web, **how) as items:
            assert [(await until(items, "log"))[1]["message"] for _ in range(2)] == ["two", "three"]
    for unknown in ("deadbeef-3", "nonsense", "-", f"{last}9"):
        async with stream(web, f"?after={unknown}") as items:
            await until(items, "reset")


def test_the_ring_is_bounded_and_counts() -> None:
    """However much happens, a bounded number of events is kept, and a late client gets the number of the missing."""
    ring = Ring("life")
    for number in range(RING_EVENTS + 100):
        ring.publish({"event": "log", "message": str(number)})
    missed, items = ring.since(ring.id_of(10))
    assert (missed, len(items)) == (90, RING_EVENTS)
    for _ in range(100):
        ring.publish({"message": "x" * 100_000})
    assert sum(len(item.text) for item in ring.since("-")[1]) <= RING_BYTES
    assert ring.since(ring.id_of(ring.number)) == (0, [])


async def test_a_slow_follower_loses_events_and_is_told() -> None:
    """Who does not take keeps a bounded queue; the number of what is lost comes with the next that it takes."""
    ring = Ring("life")
    slow, quick = ring.follow(), ring.follow()
    for number in range(WAITING_EVENTS + 50):
        ring.publish({"event": "log", "message": str(number)})
        await quick.take()
    assert await slow.take() == (50, ring.since(ring.id_of(0))[1][:WAITING_EVENTS])
    assert ring.dropped == 50
    slow.close()
    quick.close()


async def test_actions_reach_the_prx_that_is_meant(web: Scene) -> None:
    """Restart, stop and reload do what they say to the one prx that has the tunnel; what is not clear does nothing."""
    one, two = ScriptedPrx(), ScriptedPrx()
    one.track("web", state=State.READY)
    one.track("api", state=State.READY)
    two.track("web", state=State.READY)
    await web.start("prx-1", one)
    await web.start("prx-2", two)

    async def do(path: str) -> httpx2.Response:
        return await web.ask(f"/api/v1/{path}", method="POST", headers=web.action)

    assert (await do("tunnels/api/restart")).json() == {"prx": "prx-1", "tunnel": "api", "done": "restart"}
    ambiguous = await do("tunnels/web/stop")
    assert ambiguous.status_code == 400
    assert "?prx=" in ambiguous.json()["hint"]
    assert (await do("tunnels/web/stop?prx=prx-2")).status_code == 200
    assert (await do("reload")).status_code == 400
    assert (await do("reload?prx=prx-2")).status_code == 200
    two.problem = PrxError("prx.toml:3: unknown key", hint="did you mean …")
    refused = await do("reload?prx=prx-2")
    assert (refused.status_code, refused.json()["error"]) == (409, "prx.toml:3: unknown key")
    assert one.asked == [("restart", "api")]
    assert two.asked == [("stop", "web"), ("reload", None), ("reload", None)]


async def test_one_reload_at_a_time(web: Scene) -> None:
    """While a prx reads its configuration a second request for that is refused; other prx, and a later one, are not."""
    came, over = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedPrx):
        async def reload(self) -> list[str]:
            came.set()
            await over.wait()
            return await super().reload()

    slow, other = Slow(), ScriptedPrx()
    await web.start("prx-1", slow)
    await web.start("prx-2", other)

    async def reload(key: str) -> int:
        return (await web.ask(f"/api/v1/reload?prx={key}", method="POST", headers=web.action)).status_code

    async with asyncio.TaskGroup() as group:
        first = group.create_task(reload("prx-1"), name="the first reload")
        await came.wait()
        assert [await reload("prx-1"), await reload("prx-2")] == [409, 200]
        over.set()
    assert [first.result(), await reload("prx-1")] == [200, 200]
    assert (slow.asked, other.asked) == ([("reload", None)] * 2, [("reload", None)])


@pytest.mark.parametrize(
    ("config", "about", "argv"),
    [
        ("/home/me/prx.toml", {}, "doctor --json -c /home/me/prx.toml"),
        ("/home/me/prx.toml", {"lab": True}, "doctor --json -c /home/me/prx.toml --lab"),
        ("", {"lab": True}, "doctor --json 127.0.0.1:8080 --lab"),
        ("", {}, "doctor --json 127.0.0.1:8080"),
    ],
)
async def test_the_doctor_examines_what_runs(tmp_path: Path, config: str, about: dict[str, Any], argv: str) -> None:
    """It examines the configuration of that prx, or its service if it has none, and asks for no Internet in the lab."""
    from prx.web.examine import Doctor

    class Prx(ScriptedPrx):
        def about(self) -> dict[str, Any]:
            return super().about() | about

    repeat = Doctor((sys.executable, "-c", "import json, sys; print(json.dumps({'argv': ' '.join(sys.argv[1:])}))"))
    async with scene(tmp_path / "run", doctor=(repeat,)) as web:
        prx = Prx(config=config)
        prx.track()
        await web.start("prx-1", prx)
        answer = await web.ask("/api/v1/doctor", method="POST", headers=web.action)
        assert answer.json()["argv"] == argv


async def test_the_doctor_runs_apart(tmp_path: Path) -> None:
    """An examination is a process of its own; what it prints is handed on, and a failure is an error with its words."""
    from prx.web.examine import Doctor

    good = Doctor(("sh", "-c", 'echo \'{"ok": true, "checks": []}\'', "sh"))
    async with scene(tmp_path / "run", doctor=(good,)) as web:
        await web.start("prx-1", ScriptedPrx())
        answer = await web.ask("/api/v1/doctor", method="POST", headers=web.action)
        assert answer.json() == {"prx": "prx-1", "ok": True, "checks": []}
    bad = Doctor(("sh", "-c", "echo 'error: no room' >&2; exit 1", "sh"))
    async with scene(tmp_path / "run2", doctor=(bad,)) as web:
        await web.start("prx-1", ScriptedPrx())
        answer = await web.ask("/api/v1/doctor", method="POST", headers=web.action)
        assert (answer.status_code, "no room" in answer.json()["error"]) == (409, True)


@pytest.mark.parametrize(
    "lack", [OSError(errno.EMFILE, "Too many open files"), RuntimeError("can't start new thread"), MemoryError()], ids=repr
)
async def test_a_machine_without_room_ends_no_dashboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lack: BaseException
) -> None:
    """A search that this machine has no room for is made again, and finds what is there."""
    tries: list[int] = []

    def scarce(folder: Path) -> list[Path]:
        tries.append(1)
        if len(tries) == 1:
            raise lack
        return sockets(folder)

    monkeypatch.setattr("prx.web.hub.SEARCH_EVERY", 0.01)
    monkeypatch.setattr("prx.web.hub.sockets", scarce)
    prx = ScriptedPrx()
    prx.track()
    clock = SystemClock()
    hub = Hub(tmp_path, wall=clock.wall, steady=clock.monotonic, life="life")
    async with serving(tmp_path, "prx-1", prx), asyncio.TaskGroup() as group, asyncio.timeout(PATIENCE):
        searching = group.create_task(hub.run())
        await hub.until(lambda: bool(hub.seen))
        searching.cancel()
    assert len(tries) > 1


async def test_a_prx_that_there_is_no_room_to_ask_is_unknown(web: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the dashboard has no descriptor left says nothing of prx: it is shown as silent, and asked again."""
    scarce = False

    @asynccontextmanager
    async def narrow(path: Path) -> AsyncIterator[Link]:
        if scarce:
            raise OSError(errno.EMFILE, "Too many open files")
        async with linked(path) as link:
            yield link

    monkeypatch.setattr("prx.web.hub.SEARCH_EVERY", 0.01)
    monkeypatch.setattr("prx.web.hub.linked", narrow)
    prx = ScriptedPrx()
    prx.track("web", state=State.READY, verdict=Verdict.HEALTHY)
    async with serving(web.folder, "prx-1", prx):
        await web.until(lambda: bool(tunnel_of(web)))
        scarce = True
    await web.stack.enter_async_context(serving(web.folder, "prx-1", prx))
    await web.until(lambda: web.dashboard.hub.seen[0].silent)
    scarce = False
    await web.until(lambda: web.dashboard.hub.seen[0].gone_at is None)


@pytest.mark.parametrize("hours", [48, -48])
async def test_a_clock_that_is_set_forgets_no_prx_too_early_or_late(tmp_path: Path, hours: int) -> None:
    """A prx that has ended stays for a day that has really passed, whatever the wall clock says meanwhile."""
    wall, steady = [1_800_000_000.0], [50.0]
    async with scene(tmp_path / "run", wall=lambda: wall[0], steady=lambda: steady[0]) as web:
        prx = ScriptedPrx(pid=1)
        prx.track("web", state=State.READY, verdict=Verdict.HEALTHY)
        async with serving(web.folder, "prx-1", prx):
            await web.until(lambda: bool(tunnel_of(web)))
        hub = web.dashboard.hub
        await web.until(lambda: hub.seen[0].gone_at is not None)
        wall[0] += hours * 3600
        steady[0] += GONE_SECONDS - 1
        async with asyncio.TaskGroup() as group:
            await hub.search(group)
            assert hub.seen
            steady[0] += 2
            await hub.search(group)
            assert not hub.seen


async def test_of_those_that_ended_the_last_ones_are_remembered(tmp_path: Path) -> None:
    """A machine on which hundreds of prx come and go within a day shows the last ones, and keeps no more."""
    steady = [50.0]
    async with scene(tmp_path / "run", steady=lambda: steady[0]) as web, asyncio.TaskGroup() as group:
        hub = web.dashboard.hub
        for number in range(3 * MOST_GONE):
            steady[0] += 1
            hub._seen[f"prx-{number}"] = Seen(f"prx-{number}", web.folder, gone_at=1.0, gone_since=steady[0])
            await hub.search(group)
        assert {item.key for item in hub.seen} == {f"prx-{number}" for number in range(2 * MOST_GONE, 3 * MOST_GONE)}
