"""A stream of events from a place on: none is lost, none comes twice, whatever happens while it begins."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.support.waits import PATIENCE
from tests.web.conftest import Scene

from prx.web.ring import Ring
from prx.web.stream import Streams

LAST = 1000


class Reader:
    """A client of one stream, as the server sees it: takes what is sent, and may do something at each step."""

    def __init__(self, at_step: dict[str, Any]) -> None:
        self.text = ""
        self.gone, self.whole = asyncio.Event(), asyncio.Event()
        self._at_step = at_step

    async def send(self, message: dict[str, Any]) -> None:
        """Take a part of the answer."""
        if message["type"] == "http.response.start":
            self._at_step.get("start", lambda: None)()
            await asyncio.sleep(0)
        self.text += message.get("body", b"").decode()
        self._at_step.pop("body", lambda: None)()
        if LAST in self.numbers:
            self.whole.set()

    async def receive(self) -> dict[str, Any]:
        """Wait until the client goes away."""
        await self.gone.wait()
        return {"type": "http.disconnect"}

    @property
    def numbers(self) -> list[int]:
        """Return the numbers of the events that have come."""
        data = [json.loads(line[6:]) for line in self.text.split("\n") if line.startswith("data: ")]
        return [item["n"] for item in data if "n" in item]


@pytest.mark.parametrize("when", ["start", "body", "task"])
@pytest.mark.parametrize("missed", [0, 1, 40])
@pytest.mark.parametrize("came", [1, 7])
async def test_what_happens_while_a_stream_begins_comes_once(when: str, missed: int, came: int) -> None:
    """Events that come between the request, its head and the backlog are in the answer once, in order."""
    ring = Ring("life")
    streams = Streams(ring, lambda _client: None)
    for number in range(50):
        ring.publish({"n": number})

    def happen() -> None:
        for number in range(came):
            ring.publish({"n": 50 + number})

    stream = streams.response(ring.id_of(50 - missed))
    assert stream is not None
    reader = Reader({when: happen})
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        scope: dict[str, Any] = {"type": "http", "client": None}
        group.create_task(stream(scope, reader.receive, reader.send), name="stream")  # type: ignore[arg-type]
        if when == "task":  # in the round of the loop in which the stream is opened
            await asyncio.sleep(0)
            happen()
        for _ in range(10):
            await asyncio.sleep(0)
        ring.publish({"n": LAST})
        await reader.whole.wait()
        reader.gone.set()
    assert reader.numbers == [*range(50 - missed, 50 + came), LAST]


async def test_a_head_of_the_stream_ends(web: Scene) -> None:
    """HEAD has no body that could go on: it is answered at once, as everything else is, and takes none of the streams."""
    answer = await web.ask("/api/v1/events", method="HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert web.dashboard.streams.open == 0
    assert (await web.ask("/api/v1/events?afer=1", method="HEAD")).status_code == 400
