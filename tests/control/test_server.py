"""The control socket: a real one, with a scripted prx behind it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from prx.app.holders import FreeHold
from prx.control import server as server_module
from prx.control.client import Client, NotRunningError, UnresponsiveError
from prx.control.messages import REPLAY_LIMIT, REQUEST_LIMIT, Message, encode
from prx.control.server import ControlServer
from prx.core.errors import ConfigError, NotReadyError, PermanentError, PrxError, UsageError
from prx.core.events import Fact, Log, StateChanged, UrlChanged
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.story import story
from prx.runtime.bus import Bus, Subscription
from prx.runtime.host.clock import SystemClock
from prx.traffic.export import ARCHIVED_LIMIT


class ScriptedPrx:
    """What a control server speaks for: a bus, and a list of what was asked."""

    def __init__(self, *names: str) -> None:
        self.bus = Bus(SystemClock())
        self.asked: list[tuple[str, str | None]] = []
        self.problem: PrxError | None = None
        self.subscribed, self.stopped = asyncio.Event(), asyncio.Event()
        self.on_stop: Callable[[str | None], None] = lambda _: None
        for name in names or ("web",):
            self.bus.track(TunnelStatus(name, state=State.STARTING, local_addr="127.0.0.1:8080", mode="named"))

    def about(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "tunnels": []}

    def statuses(self) -> tuple[TunnelStatus, ...]:
        return self.bus.statuses()

    def stories(self, name: str | None = None) -> list[dict[str, Any]]:
        return [story(status, 1_000.0) for status in self.statuses() if name in {None, status.name}]

    def subscribe(self) -> Subscription:
        self.subscribed.set()
        return self.bus.subscribe(limit=4)

    def stop(self, name: str | None = None) -> None:
        self.asked.append(("stop", name))
        self.stopped.set()
        self.on_stop(name)

    def restart(self, name: str | None = None) -> None:
        self.asked.append(("restart", name))

    def hold(self, *, keep: float, also: Sequence[int]) -> FreeHold:
        self.asked.append((f"hold {keep:g} {list(also)}", None))
        return FreeHold()

    async def traffic(self, request: Message) -> Message:
        """Answer what is asked of inspected traffic; fall over a field of a kind that it does not expect."""
        dict(request.get("positions", 5))
        return {"asked": request["do"]}

    async def reload(self) -> list[str]:
        self.asked.append(("reload", None))
        if self.problem is not None:
            raise self.problem
        return []

    def become(self, name: str, state: str, url: str = "") -> None:
        facts: list[Fact] = [UrlChanged(tunnel=name, url=url, old="")] if url else []
        for fact in [*facts, StateChanged(tunnel=name, old=State.IDLE, new=State(state), reason="so it goes")]:
            self.bus.publish(fact)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the control socket is."""
    return tmp_path / "web.sock"


@pytest.fixture
async def prx(path: Path) -> AsyncIterator[ScriptedPrx]:
    """Run a control server for two tunnels that are starting."""
    scripted = ScriptedPrx("web", "api")
    async with ControlServer(path, scripted, wall=lambda: 1_000.0):
        yield scripted


async def ask(path: Path, do: str, **arguments: Any) -> dict[str, Any]:
    """Ask in a thread, as the client is synchronous."""

    def talk() -> dict[str, Any]:
        with Client(path) as client:
            return client.ask(do, **arguments)

    return await asyncio.to_thread(talk)


async def raw(path: Path, data: bytes) -> dict[str, Any]:
    """Send bytes, and return the first line of the answer."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    answer: dict[str, Any] = json.loads(await asyncio.wait_for(reader.readline(), 10))
    writer.close()
    with suppress(ConnectionError):  # it need not have taken all
        await writer.wait_closed()
    return answer


async def test_status_is_the_public_form_of_every_tunnel(prx: ScriptedPrx, path: Path) -> None:
    """`status` answers what `prx status --json` prints."""
    answer = await ask(path, "status")
    assert answer["tunnels"] == [status.to_json(1_000.0) for status in prx.statuses()]


async def test_why_is_the_story_of_every_tunnel_or_of_the_one_that_is_named(prx: ScriptedPrx, path: Path) -> None:
    """`why` answers what `prx why --json` prints, and refuses a tunnel that there is not."""
    assert [item["name"] for item in (await ask(path, "why"))["tunnels"]] == ["web", "api"]
    assert [item["name"] for item in (await ask(path, "why", tunnel="api"))["tunnels"]] == ["api"]
    with pytest.raises(UsageError, match="no tunnel 'wbe'"):
        await ask(path, "why", tunnel="wbe")


def line_of(size: int, **fields: Any) -> bytes:
    """Return a request that is one line of `size` bytes."""
    bare = encode({**fields, "positions": {}, "fill": ""})
    return bare[:-3] + b"x" * (size - len(bare)) + bare[-3:]


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        (line_of(REQUEST_LIMIT - 1, do="requests"), None),
        (line_of(REQUEST_LIMIT + 1000, do="requests"), REQUEST_LIMIT),
        (line_of(2 * REQUEST_LIMIT, do="request"), REQUEST_LIMIT),
        (line_of(2 * REQUEST_LIMIT, id=1, do="replay"), REQUEST_LIMIT),  # what it is has to come first
        (line_of(2 * REQUEST_LIMIT, do="replay"), None),
        (line_of(REPLAY_LIMIT, do="replay"), None),
        (line_of(REPLAY_LIMIT + 2 * REQUEST_LIMIT, do="replay"), REPLAY_LIMIT),
    ],
    ids=["request", "long-request", "twice", "late", "small-replay", "replay", "long-replay"],
)
async def test_a_request_has_a_length_and_only_a_replay_a_large_one(
    prx: ScriptedPrx, path: Path, line: bytes, limit: int | None
) -> None:
    """A body of 16 MiB is taken whole; what is longer is refused by name, and what is no replay long before that."""
    answer = await raw(path, line)
    if limit is None:
        assert answer["asked"] in {"requests", "replay"}
    else:
        assert f"a request has at most {limit} bytes" in answer["error"]
    assert ARCHIVED_LIMIT * 4 / 3 + REQUEST_LIMIT < REPLAY_LIMIT
    assert len((await ask(path, "status"))["tunnels"]) == 2


async def test_one_connection_carries_many_requests(prx: ScriptedPrx, path: Path) -> None:
    """A client asks again on the same connection, and learns the pid of the other side from the kernel."""

    def talk() -> tuple[int, int]:
        with Client(path) as client:
            return client.ask("ping")["pid"], client.ask("ping")["pid"] - client.pid

    assert await asyncio.to_thread(talk) == (os.getpid(), 0)


async def test_url_waits_for_the_verified_one(prx: ScriptedPrx, path: Path) -> None:
    """`url` with a wait answers in the moment in which the tunnel is up and its URL verified."""
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(ask(path, "url", tunnel="web", wait=30.0))
        await prx.subscribed.wait()
        prx.become("api", "ready", "https://api.example.com")
        prx.become("web", "ready", "https://web.example.com")
    assert asked.result()["urls"] == {"web": "https://web.example.com"}


async def test_url_without_a_wait_says_what_it_is_waiting_for(prx: ScriptedPrx, path: Path) -> None:
    """A tunnel without a verified URL is listed as pending, with its state and the reason."""
    answer = await ask(path, "url")
    assert answer["urls"] == {}
    assert answer["pending"]["web"]["state"] == "starting"


async def test_url_does_not_wait_for_a_tunnel_that_failed(prx: ScriptedPrx, path: Path) -> None:
    """What has failed for good is reported at once, however long the wait may be."""
    prx.become("web", "failed")
    async with asyncio.timeout(10):
        answer = await ask(path, "url", tunnel="web", wait=600.0)
    assert answer["pending"]["web"]["state"] == "failed"


async def test_stop_of_one_tunnel_answers_when_it_is_down(prx: ScriptedPrx, path: Path) -> None:
    """`stop NAME` returns only when the tunnel is idle."""
    prx.on_stop = lambda name: prx.become(str(name), "stopping")
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(ask(path, "stop", tunnel="web"))
        await prx.stopped.wait()
        assert not asked.done()
        prx.become("web", "idle")
    assert asked.result()["ok"]


async def test_stop_restart_and_reload_reach_the_prx(prx: ScriptedPrx, path: Path) -> None:
    """What the user asks for is handed on, with the tunnel that was named."""
    for do, arguments in (("stop", {}), ("restart", {"tunnel": "api"}), ("reload", {})):
        assert (await ask(path, do, **arguments))["ok"]
    assert prx.asked == [("stop", None), ("restart", "api"), ("reload", None)]


@pytest.mark.parametrize("kind", [PrxError, UsageError, PermanentError, NotReadyError])
async def test_a_refusal_arrives_as_the_same_kind_of_error(prx: ScriptedPrx, path: Path, kind: type[PrxError]) -> None:
    """Message, hint and exit code of an error are the same on both sides."""
    prx.problem = kind("no good", hint="do better")
    with pytest.raises(kind) as caught:
        await ask(path, "reload")
    assert (caught.value.message, caught.value.hint, caught.value.exit_code) == ("no good", "do better", kind.exit_code)


async def test_all_problems_of_a_configuration_arrive(prx: ScriptedPrx, path: Path) -> None:
    """A refused reload tells every mistake, not only their number."""
    prx.problem = ConfigError(["prx.toml:3: tunnel.x: unknown", "prx.toml:4: tunnel.y: unknown"])
    with pytest.raises(UsageError, match=r"2 problems\nprx.toml:3.*\nprx.toml:4"):
        await ask(path, "reload")


async def test_an_unknown_tunnel_is_refused_with_the_names(prx: ScriptedPrx, path: Path) -> None:
    """A wrong name changes nothing and the answer lists the right ones."""
    with pytest.raises(UsageError) as caught:
        await ask(path, "stop", tunnel="wbe")
    assert "web, api" in caught.value.hint
    assert prx.asked == []


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"[1]\n",
        b"\n",
        b"\xff\xfe\n",
        b'{"do":"fly"}\n',
        b'{"do":"url","wait":-1}\n',
        b'{"do":"url","wait":"x"}\n',
        b'{"do":"url","wait":1e999}\n',
        b'{"do":"stop","tunnel":3}\n',
        b'{"do":"requests"}\n',
        b'{"do":"why","tunnel":[[]]}\n',
        b'{"do":"url","tunnel":{}}\n',
        b'{"do":["status"]}\n',
        b"[" * 60_000 + b"\n",
        b'{"do":"' + b"x" * 100_000 + b'"}\n',
    ],
)
async def test_nonsense_is_refused_and_harms_nothing(prx: ScriptedPrx, path: Path, line: bytes) -> None:
    """Whatever a client sends, it gets a refusal, and the next client is served."""
    answer = await raw(path, line)
    assert not answer["ok"]
    assert answer["exit"] == 2
    assert (await ask(path, "ping"))["ok"]
    assert prx.asked == []


async def test_events_are_streamed_and_a_slow_reader_is_told_what_it_missed(prx: ScriptedPrx, path: Path) -> None:
    """`events` gives one line per event; too many at once become one `dropped` with their number."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"do":"events"}\n')
    assert json.loads(await asyncio.wait_for(reader.readline(), 10)) == {"ok": True}
    for number in range(10):  # at once: the subscription holds 4
        prx.bus.publish(Log(tunnel="web", level="info", message=str(number)))
    lines = [json.loads(await asyncio.wait_for(reader.readline(), 10)) for _ in range(5)]
    assert [line["event"] for line in lines] == ["log"] * 4 + ["dropped"]
    assert lines[-1]["count"] == 6
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_says_nothing_more_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that begins and does not end within its time ends the connection."""
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 0.05)
    async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do":')
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await writer.wait_closed()


KEEPS_BUSY = {
    "idle": b"",
    "half a request": b'{"do":',
    "has asked": b'{"do":"ping"}\n',
    "waits": b'{"do":"url","wait":3600}\n',
    "events": b'{"do":"events"}\n',
}


@pytest.mark.parametrize("kind", sorted(KEEPS_BUSY))
async def test_no_client_shuts_others_out(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Whatever as many connections as there may be are doing, the next one is answered; the oldest has made room."""
    monkeypatch.setattr(server_module, "CONNECTION_LIMIT", 4)
    prx = ScriptedPrx()
    async with ControlServer(path, prx, wall=lambda: 0.0):
        connections = [await asyncio.open_unix_connection(path) for _ in range(4)]
        for _, writer in connections:
            writer.write(KEEPS_BUSY[kind])
        for _ in range(20):  # turns in which the server reads that
            await asyncio.sleep(0)
        assert (await raw(path, b'{"do":"ping"}\n'))["ok"]
        last = await asyncio.wait_for(connections[0][0].read(), 10)
        if kind in {"idle", "half a request"}:
            assert "more than 4" in json.loads(last)["error"]
        connections[3][1].write(b'{"do":"ping"}\n')
        if kind in {"idle", "has asked"}:
            assert json.loads(await asyncio.wait_for(connections[3][0].readline(), 10))["ok"]
        for _, writer in connections:
            writer.close()
            await writer.wait_closed()


async def test_ten_thousand_connections_shut_nobody_out(path: Path) -> None:
    """Ten thousand that connect and say nothing are taken in turn: a request among them is answered, no descriptor is lost."""
    prx = ScriptedPrx()
    async with ControlServer(path, prx, wall=lambda: 0.0):
        assert (await raw(path, b'{"do":"ping"}\n'))["ok"]
        before = _descriptors()
        for hundred in range(100):
            silent = []
            for _ in range(100):
                connection = socket.socket(socket.AF_UNIX)
                connection.setblocking(False)
                await asyncio.get_running_loop().sock_connect(connection, str(path))
                silent.append(connection)
            if hundred % 20 == 0:
                assert (await asyncio.wait_for(raw(path, b'{"do":"ping"}\n'), 10))["ok"]
            for connection in silent:
                connection.close()
        async with asyncio.timeout(10):
            while _descriptors() > before:  # noqa: ASYNC110 - the server closes them within a few turns of the loop
                await asyncio.sleep(0)


def _descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def test_who_rests_goes_before_who_is_answered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that follows the events stays where another one only rests, old as it may be."""
    monkeypatch.setattr(server_module, "CONNECTION_LIMIT", 2)
    prx = ScriptedPrx()
    async with ControlServer(path, prx, wall=lambda: 0.0):
        follows = await asyncio.open_unix_connection(path)
        follows[1].write(b'{"do":"events"}\n')
        await asyncio.wait_for(follows[0].readline(), 10)
        rests = await asyncio.open_unix_connection(path)
        for _ in range(5):
            assert (await raw(path, b'{"do":"ping"}\n'))["ok"]
        assert "more than 2" in json.loads(await asyncio.wait_for(rests[0].read(), 10))["error"]
        prx.become("web", "ready")
        assert json.loads(await asyncio.wait_for(follows[0].readline(), 10))["event"] == "state_changed"
        for _, writer in (follows, rests):
            writer.close()
            await writer.wait_closed()


async def test_the_end_of_the_server_ends_every_conversation(path: Path) -> None:
    """A client that waits on the connection learns of the end of prx by the end of the connection; the socket is gone."""
    async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do":"events"}\n')
        await asyncio.wait_for(reader.readline(), 10)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await writer.wait_closed()
    assert not path.exists()


async def test_only_the_owner_can_connect(prx: ScriptedPrx, path: Path) -> None:
    """The socket has mode 0600 whatever the umask is."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_stranger_is_not_answered(prx: ScriptedPrx, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is neither root nor the own user gets nothing, even if the modes let it through."""
    monkeypatch.setattr(server_module, "is_allowed", lambda uid: uid == -1)
    reader, writer = await asyncio.open_unix_connection(path)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await writer.wait_closed()


async def test_a_stale_socket_is_replaced(path: Path) -> None:
    """What a killed prx left behind is no obstacle."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0):
        assert (await ask(path, "ping"))["ok"]


async def test_a_file_in_the_way_is_not_removed(path: Path) -> None:
    """Something else than a socket at the path is an error that names it, and stays as it is."""
    path.write_text("mine")
    with pytest.raises(PermanentError, match="not a socket"):
        async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0):
            pass
    assert path.read_text() == "mine"


async def test_a_path_beyond_107_bytes_works(tmp_path: Path) -> None:
    """The kernel's limit on socket paths is no limit for prx."""
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    async with ControlServer(folder / "web.sock", ScriptedPrx(), wall=lambda: 0.0):
        assert (await ask(folder / "web.sock", "ping"))["ok"]


def test_nobody_there_is_not_running(path: Path) -> None:
    """No socket, and a socket that is not listened on, both mean that prx is not running: exit code 3."""
    with pytest.raises(NotRunningError):
        Client(path)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with pytest.raises(NotRunningError) as caught:
        Client(path)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("answer", [None, b"", b"what?\n", b"x" * 100])
def test_a_prx_that_does_not_answer_is_unresponsive(path: Path, answer: bytes | None) -> None:
    """Silence, an early end and garbage all mean that nothing is known: exit code 4, after a bounded time."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with Client(path, timeout=0.2) as client:
            other, _ = listening.accept()
            with other:
                if answer is not None:
                    other.sendall(answer)
                    other.shutdown(socket.SHUT_WR)
                with pytest.raises(UnresponsiveError) as caught:
                    client.ask("ping")
    assert caught.value.exit_code == 4


async def test_a_stream_whose_client_is_gone_gives_its_seat_back_at_once(prx: ScriptedPrx, path: Path) -> None:
    """A hundred clients that subscribe and leave, while nothing happens, leave no subscription and refuse no other."""
    for _ in range(100):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do":"events"}\n')
        assert json.loads(await asyncio.wait_for(reader.readline(), 10)) == {"ok": True}
        writer.close()
    async with asyncio.timeout(10):
        while prx.bus._subscriptions:  # noqa: ASYNC110 - each turn is one of the loop, in which the server may act
            await asyncio.sleep(0)


async def test_a_client_that_meets_the_end_of_prx_is_not_told_of_others(path: Path) -> None:
    """A connection that was taken and not served yet when prx ends is closed: it is no one too many."""
    async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            taken, _ = server._listening.accept()
            async with asyncio.TaskGroup() as group:
                conversation = group.create_task(server._serve(taken), name="met the end")
                server._take_a_seat(conversation, taken)
                conversation.cancel()
            await asyncio.sleep(0)
            assert client.recv(100) == b""


async def test_a_hold_lasts_until_a_line_or_the_end(prx: ScriptedPrx, path: Path) -> None:
    """`hold` answers as `ping` does and says at its end whether prx ends; bad numbers are refused with their place."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"do":"hold","keep":2,"also":[1]}\n')
    assert json.loads(await asyncio.wait_for(reader.readline(), 10))["ok"]
    assert prx.asked == [("hold 2 [1]", None)]
    writer.write(b"{}\n")
    assert json.loads(await asyncio.wait_for(reader.readline(), 10)) == {"ok": True, "ends": False}
    for wrong in ('"keep":-1', '"also":["1"]', '"also":[0]', '"also":1'):
        writer.write(b'{"do":"hold",%b}\n' % wrong.encode())
        answer = json.loads(await asyncio.wait_for(reader.readline(), 10))
        assert (answer["ok"], answer["code"]) == (False, "usage")
        assert wrong.split('"')[1] in answer["error"]
    writer.close()
    await writer.wait_closed()
