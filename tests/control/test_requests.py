"""What is asked over the control socket, and what is answered: a real one, with a scripted prx behind it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.control.scripted import ScriptedPrx, ask, raw

from prx.control.messages import REPLAY_LIMIT, REQUEST_LIMIT, encode
from prx.core.errors import ConfigError, NotReadyError, PermanentError, PrxError, UsageError
from prx.traffic.export import ARCHIVED_LIMIT


async def test_status_is_the_public_form_of_every_tunnel(prx: ScriptedPrx, path: Path) -> None:
    """`status` answers what `prx status --json` prints."""
    answer = await ask(path, "status")
    assert answer["tunnels"] == [status.to_json(1_000.0) for status in prx.statuses()]


async def test_why_is_the_story_of_every_tunnel_or_of_the_one_that_is_named(prx: ScriptedPrx, path: Path) -> None:
    """`why` answers what `prx why --json` prints, and refuses a tunnel that there is not."""
    assert [item["name"] for item in (await ask(path, "why"))["tunnels"]] == ["web", "api"]
    assert [item["name"] for item in (await ask(path, "why", tunnel="api"))["tunnels"]] == ["api"]
    with pytest.raises(UsageError, match="no tunnel is called 'wbe'; running: web, api"):
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


@pytest.mark.parametrize(
    "defect",
    [
        Exception("odd"),
        AssertionError(),
        ExceptionGroup("unhandled errors in a TaskGroup", [ZeroDivisionError()]),
        BufferError("no export"),
    ],
    ids=lambda defect: type(defect).__name__,
)
async def test_a_defect_is_an_answer_too(prx: ScriptedPrx, path: Path, defect: Exception) -> None:
    """The client hears that prx is at fault, at once, and can go on to ask; the reason is reported where prx runs."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context.get("exception")))
    prx.problem = defect
    with pytest.raises(PrxError, match=f"defect of prx .{type(defect).__name__}.") as caught:
        await ask(path, "reload")
    assert (caught.value.exit_code, reported) == (1, [defect])
    assert (await ask(path, "ping"))["ok"]


async def test_an_unknown_tunnel_is_refused_with_the_names(prx: ScriptedPrx, path: Path) -> None:
    """A wrong name changes nothing and the answer lists the right ones."""
    with pytest.raises(UsageError) as caught:
        await ask(path, "stop", tunnel="wbe")
    assert caught.value.message == "no tunnel is called 'wbe'; running: web, api"
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
