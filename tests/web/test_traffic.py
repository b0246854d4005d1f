"""Requests on the page and in the API: what `prx requests` shows, hidden as there; nothing that a visitor wrote acts."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.waits import PATIENCE
from tests.web.conftest import Scene, ScriptedPrx
from tests.web.traffic import PLANTED, Echo, InspectedPrx, inspected

from prx.core.errors import PrxError, UsageError
from prx.core.states import State
from prx.logs.redact import MARK
from prx.web.hub import Seen
from prx.web.openapi import document
from prx.web.past import MOST_KEPT as MOST_READINGS
from prx.web.past import History
from prx.web.questions import KEEP_SECONDS, MOST_KEPT, Questions

HERE = "/tunnels/prx-1/default/requests"


@pytest.fixture
async def prx(web: Scene, tmp_path: Path) -> AsyncIterator[tuple[InspectedPrx, Echo]]:
    """Show a prx whose tunnel is inspected."""
    async with inspected(tmp_path / "caught") as found:
        await web.start("prx-1", found[0])
        yield found


Inspected = tuple[InspectedPrx, Echo]


async def listed(web: Scene, query: str = "") -> list[dict[str, Any]]:
    """Return the list of the API."""
    answer = await web.ask(f"/api/v1/requests{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["requests"]
    return found


async def page(web: Scene, path: str) -> str:
    """Return a page as a browser without a script reads it: text, in the order of the source."""
    answer = await web.ask(path)
    assert answer.headers["content-type"].startswith("text/html"), answer.text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", answer.text.partition("<main")[2].partition("</main>")[0]))


async def test_list_filter_detail_and_difference(web: Scene, prx: Inspected) -> None:
    """Without a script: the list with the filter of the command, one request with headers in order, and two compared."""
    prx[1].answer = b"HTTP/1.1 201 Made\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n" + b'{"order": 12}'
    await prx[0].post("/hook?x=1", b"it=1", "X-B: second", "X-A: first")
    prx[1].answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    await prx[0].post("/hook?x=2", b"it=2", "X-B: second", "X-A: first")
    whole = await page(web, HERE)
    assert "201 POST /hook?x=1" in whole
    assert "503 POST /hook?x=2" in whole
    filtered = await page(web, f"{HERE}?filter=method:POST+path:/hook+status:5xx")
    assert ("/hook?x=1" in filtered, "/hook?x=2" in filtered) == (False, True)
    one = await page(web, f"{HERE}/1")
    assert one.index("X-B: second") < one.index("X-A: first") < one.index("it=1") < one.index("HTTP/1.1 201 Made")
    assert "&#34;order&#34;: 12" in one
    differ = await page(web, f"{HERE}/diff?id=1&id=2")
    assert "only in the first: − POST /hook?x=1 only in the second: + POST /hook?x=2" in differ
    assert "only in the first: − it=1 only in the second: + it=2" in differ
    assert [part["title"] for part in (await web.ask("/api/v1/requests/1/diff?other=2")).json()["parts"] if not part["same"]]
    assert "Compare with request 1" in await page(web, f"{HERE}/2")
    for marked in ("", "?id=1", "?id=1&id=2&id=3", "?id=x&id=1"):
        assert "Mark two requests" in await page(web, f"{HERE}/diff{marked}")


async def test_an_answer_has_what_the_document_requires(web: Scene, prx: Inspected) -> None:
    """The list and one request with its two sides have every field that the document says they have."""
    await prx[0].post("/hook", b"it=1")
    paths = document()["paths"]

    def required(path: str, *way: str) -> set[str]:
        found = paths[f"/api/v1{path}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        for name in way:
            found = found["items"] if name == "items" else found["properties"][name]
        return set((found["anyOf"][1] if "anyOf" in found else found)["required"])

    one = (await web.ask("/api/v1/requests/1")).json()["request"]
    assert set((await listed(web))[0]) >= required("/requests", "requests", "items")
    assert set(one) >= required("/requests/{id}", "request")
    assert set(one["request"]) >= required("/requests/{id}", "request", "request")


async def test_secrets_are_hidden_as_with_the_command(web: Scene, prx: Inspected) -> None:
    """A planted secret is on no page and in no answer of the API, also packed in a body; nor is a signature."""
    packed = gzip.compress(f'{{"x": "{PLANTED}"}}'.encode())
    prx[1].answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    headers = (f"X-Safe: {PLANTED}", "Authorization: Bearer visitor-secret", "Cookie: a=visitor-secret")
    signed = hmac.new(b"known-to-both", b"it=1", "sha256").hexdigest()
    await prx[0].post(f"/hook?token=visitor-secret&b={PLANTED}", b"it=1", *headers, f"X-Hub-Signature-256: sha256={signed}")
    await prx[0].post("/hook", f"it={PLANTED}".encode())
    for path in (HERE, f"{HERE}/1", f"{HERE}/2", f"{HERE}/diff?id=1&id=2"):
        text = (await web.ask(path)).text
        assert not any(secret in text for secret in (PLANTED, "visitor-secret", signed))
        assert MARK in text
    for path in ("", "/1", "/2", "/1/diff?other=2"):
        text = (await web.ask(f"/api/v1/requests{path}")).text
        assert not any(secret in text for secret in (PLANTED, "visitor-secret", signed))
    answer = (await web.ask("/api/v1/requests/1")).json()["request"]["answer"]
    assert PLANTED.encode() not in gzip.decompress(base64.b64decode(answer["body"]))


async def test_a_signature_is_judged(web: Scene, prx: Inspected) -> None:
    """Valid, invalid, and no secret known, on the list and on the page of the request."""
    good = hmac.new(b"known-to-both", b"it=1", "sha256").hexdigest()
    await prx[0].post("/a", b"it=1", f"X-Hub-Signature-256: sha256={good}")
    await prx[0].post("/b", b"it=2", f"X-Hub-Signature-256: sha256={good}")
    await prx[0].post("/c", b"it=3", "Stripe-Signature: t=1,v1=00")
    for number, words in ((1, "github: valid"), (2, "github: invalid"), (3, "stripe: no secret known")):
        assert words in await page(web, HERE)
        assert f"Signature: {words}" in await page(web, f"{HERE}/{number}")


HOSTILE = b"<script>alert(1)</script><img src=x onerror=alert(2)> \x1b[2J\x1b]0;owned\x07 \xff\xfe \xe2\x80\xae end"


async def test_what_visitors_write_is_text(web: Scene, prx: Inspected) -> None:
    """HTML, terminal escapes and invalid UTF-8 in path, headers, bodies and status lines are shown, and do nothing."""
    prx[1].answer = (
        b"HTTP/1.1 200 <b>OK</b>\x1b[2J\r\nX-H: %b\r\nContent-Length: %d\r\n\r\n" % (HOSTILE, len(HOSTILE)) + HOSTILE
    )
    await prx[0].visit(
        b"POST /<script>alert(1)</script>?\"'><img HTTP/1.1\r\nHost: a\r\nX-V: %b\r\nContent-Length: %d\r\n\r\n"
        % (HOSTILE, len(HOSTILE))
        + HOSTILE
    )
    await prx[0].post('/x" onmouseover="alert(1)', HOSTILE)
    for path in (HERE, f"{HERE}/1", f"{HERE}/2", f"{HERE}/diff?id=1&id=2", f"{HERE}?filter=%3Cscript%3E"):
        answer = await web.ask(path)
        assert answer.status_code in {200, 400}
        shown = answer.text.partition("<main")[2]
        assert not re.search(r"<script|<img|<b>OK| onmouseover=\"|[\x00-\x08\x1b\x7f-\x9f\u202e]", shown), path
        assert shown.count("</pre>") == shown.count("<pre")
    assert "&lt;script&gt;alert(1)" in (await web.ask(f"{HERE}/1")).text


async def test_large_and_odd_bodies_are_bounded(web: Scene, prx: Inspected) -> None:
    """Cut marks, bodies that are no text, bombs and endless lines: the page stays small and says what is not there."""
    bomb = gzip.compress(b"\n" * 8_000_000)
    prx[1].answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    await prx[0].post("/big", b"x" * 3_000_000)
    await prx[0].post("/binary", b"\xff\x00" * 500)
    big, binary = await page(web, f"{HERE}/1"), await page(web, f"{HERE}/2")
    assert "cut: 1048576 of 3000000 bytes are kept" in big
    assert "It cannot be sent again: its body was cut." in big
    assert "unpacked from gzip" in big
    assert "more lines" in big
    assert "1000 bytes that are no text" in binary
    assert len(big) < 100_000


async def test_messages_and_events_are_shown(web: Scene, prx: Inspected) -> None:
    """Server-sent events are shown one by one, with time and size."""
    stream = b"data: <b>one</b>\n\ndata: two\n\n"
    prx[1].answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(stream) + stream
    await prx[0].post("/stream", b"")
    shown = await page(web, f"{HERE}/1")
    assert "2 messages" in await page(web, HERE)
    assert re.search(r"service event, \d+ bytes data: &lt;b&gt;one&lt;/b&gt;", shown)


async def test_a_replay_is_a_confirmed_action(web: Scene, prx: Inspected) -> None:
    """The button sends the very request again, marked; without the header, from another site or by GET nothing is sent."""
    await prx[0].post("/hook", b"it=1")
    text = (await web.ask(f"{HERE}/1")).text
    path = re.search(r'data-post="([^"]*)"', text)
    assert path is not None
    assert re.search(r'data-ask="Send POST /hook to 127\.0\.0\.1:\d+ again\? It may change something there\."', text)
    where = path[1].replace("&amp;", "&")
    for headers in (
        web.bearer,
        {**web.action, "origin": "http://evil.example"},
        {**web.action, "sec-fetch-site": "cross-site"},
    ):
        assert (await web.ask(where, method="POST", headers=headers)).status_code == 403
    assert (await web.ask(where)).status_code == 405
    assert len(prx[1].heads) == 1
    answer = await web.ask(where, method="POST", headers=web.action)
    assert (answer.status_code, answer.json()["page"], answer.json()["request"]["replay_of"]) == (200, f"{HERE}/2", 1)
    assert b"X-PRX-Replay: 1" in prx[1].heads[1]
    assert "replay of 1" in await page(web, HERE)
    stale = re.sub(r"at=[^&]*", "at=2020-01-01T00:00:00.000Z", where)
    refused = await web.ask(stale, method="POST", headers=web.action)
    assert (refused.status_code, "another one now" in refused.json()["error"], len(prx[1].heads)) == (409, True, 2)


async def test_one_replay_at_a_time(web: Scene, prx: Inspected) -> None:
    """While a service is silent on a replay, another one is refused, and reading goes on."""
    await prx[0].post("/hook", b"it=1")
    asked, free = asyncio.Event(), asyncio.Event()
    answering = prx[0].inspector.answer

    async def slow(request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "replay":
            asked.set()
            await free.wait()
        return await answering(request)

    prx[0].traffic = slow  # type: ignore[method-assign]  # only the answer's time differs
    path = "/api/v1/requests/1/replay"
    async with asyncio.TaskGroup() as group:
        first = group.create_task(web.ask(path, method="POST", headers=web.action))
        await asked.wait()
        second = await web.ask(path, method="POST", headers=web.action)
        assert (second.status_code, "just now" in second.json()["error"]) == (409, True)
        assert len(await listed(web)) == 1
        free.set()
    assert first.result().status_code == 200


async def test_wrong_questions_are_answered_with_words(web: Scene, prx: Inspected) -> None:
    """A filter that cannot be read, a request that is not kept, numbers out of bounds: each says what is wrong, on both."""
    await prx[0].post("/hook", b"it=1")
    for path, status, words in (
        ("?filter=colour:red", 400, "colour:red"),
        ("?filter=status:x", 400, "status:x"),
        (f"?filter={'x' * 501}", 400, "filter: found 501"),
        ("?limit=0", 400, "limit"),
        ("?after=-1", 400, "after"),
        ("?own=yes", 400, "own"),
        ("?tunnel=other", 400, "no tunnel"),
        ("/99", 404, "no request 99"),
        ("/0", 400, "id: found"),
        ("/x", 400, "id: found"),
        (f"/{'9' * 400}", 400, "id: found"),
        ("/1/diff", 400, "other"),
        ("/1/diff?other=99", 404, "no request 99"),
    ):
        answer = await web.ask(f"/api/v1/requests{path}")
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), (path, answer.text)
    assert "colour:red" in await page(web, f"{HERE}?filter=colour:red")
    assert "no request 99" in await page(web, f"{HERE}/99")
    assert "There is no tunnel other" in await page(web, "/tunnels/prx-1/other/requests")
    assert (await web.ask(f"{HERE}/{'9' * 1500}")).status_code == 404


async def test_a_tunnel_that_is_not_inspected_says_how(web: Scene, tmp_path: Path) -> None:
    """Without `--inspect` the page explains how to turn it on; so does the error of the API."""
    async with inspected(tmp_path / "caught") as (prx, _):
        prx.track("other", state=State.READY, local_addr="127.0.0.1:9000")
        await web.start("prx-1", prx)
        shown = await page(web, "/tunnels/prx-1/other/requests")
        assert "prx start 127.0.0.1:9000 --inspect" in shown
        assert "[tunnels.other.inspect] enabled = true" in shown
        assert "--inspect" in await page(web, "/tunnels/prx-1/other/requests/1")
        assert (await web.ask("/api/v1/requests?tunnel=other")).status_code == 409


async def test_what_is_gone_is_said(web: Scene, prx: Inspected) -> None:
    """After the end of prx the page says that the requests went with it."""
    await prx[0].post("/hook", b"it=1")
    server = await web.start("prx-2", ScriptedPrx())
    await server.__aexit__(None, None, None)
    (web.folder / "prx-1.sock").rename(web.folder / "away")
    await web.stack.aclose()
    await web.until(lambda: all(seen.gone_at for seen in web.dashboard.hub.seen))
    assert "kept in its memory" in await page(web, HERE)


async def test_many_readers_cost_prx_one_question(web: Scene, prx: Inspected) -> None:
    """Forty readers of a list within a second are one question to prx; of other lists one is asked at a time."""
    asked: list[str] = []
    under_way = most = 0
    now = 0.0
    answering = prx[0].inspector.answer

    async def counted(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal under_way, most
        asked.append(request["filter"])
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return await answering(request)

    prx[0].traffic = counted  # type: ignore[method-assign]  # it counts, and answers the same
    questions, seen = Questions(web.dashboard.hub, lambda: now), web.dashboard.hub.find("prx-1", None)

    async def read(wanted: str) -> None:
        await questions.requests(seen, "default", wanted=wanted, limit=10, own=False)

    await asyncio.gather(*(read("") for _ in range(40)))
    assert asked == [""]
    await asyncio.gather(*(read(f"path:/{number}") for number in range(20)))
    assert (len(asked), most, len(questions._kept)) == (21, 1, MOST_KEPT)
    now = KEEP_SECONDS
    await read("path:/19")
    assert (len(asked), len(questions._kept)) == (22, 1)


@pytest.mark.parametrize("kind", ["a filter", "a request", "a story", "what is refused"])
async def test_readers_cost_prx_a_quarter_of_its_time(web: Scene, prx: Inspected, kind: str) -> None:
    """A reader that varies what it asks, without a pause, leaves prx three quarters of its time, whatever it asks."""
    now = spent = 0.0

    async def slow(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal now, spent
        now, spent = now + 0.5, spent + 0.5
        if kind == "what is refused":
            raise UsageError("there is no such request")
        return {"requests": [], "dropped": 0, "request": {}}

    def stories(name: str | None = None) -> list[dict[str, Any]]:
        nonlocal now, spent
        now, spent = now + 0.5, spent + 0.5
        return [{"name": name}]

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    prx[0].traffic, prx[0].stories = slow, stories  # type: ignore[method-assign]  # they take time, on a clock of the test
    prx[0].track("web")
    questions, seen = Questions(web.dashboard.hub, lambda: now, sleep), web.dashboard.hub.find("prx-1", None)
    for number in range(20):
        with suppress(PrxError):
            if kind == "a filter":
                await questions.requests(seen, "default", wanted=f"path:/{number}", limit=10, own=False)
            elif kind == "a story":
                now += KEEP_SECONDS  # an answer serves for a second
                await questions.story(seen, "web")
            else:
                await questions.request(seen, "default", number)
    assert spent == 10
    assert now >= 4 * spent - 1.5


async def test_who_would_wait_too_long_is_refused(web: Scene, prx: Inspected, monkeypatch: pytest.MonkeyPatch) -> None:
    """While prx takes its time over one question, others are refused after a while and do not pile up."""
    monkeypatch.setattr("prx.web.questions.TURN_SECONDS", 0.05)
    came, over = asyncio.Event(), asyncio.Event()

    async def stuck(request: dict[str, Any]) -> dict[str, Any]:
        came.set()
        await over.wait()
        return {"requests": [], "dropped": 0, "asked": request["filter"]}

    prx[0].traffic = stuck  # type: ignore[method-assign]  # it answers when the test says so
    async with asyncio.TaskGroup() as group:
        first = group.create_task(web.ask("/api/v1/requests?filter=path:/1"), name="the first reader")
        await came.wait()
        refused = await web.ask("/api/v1/requests?filter=path:/2")
        over.set()
    assert (refused.status_code, refused.json()["hint"]) == (503, "try again in a moment")
    assert first.result().status_code == 200


async def test_readings_of_the_history_are_bounded(tmp_path: Path) -> None:
    """A reader that varies how far back it asks does not fill the memory with readings."""
    history = History(tmp_path, lambda: 1000.0)
    for seconds in range(1, 40):
        await history.last(seconds)
    assert len(history._kept) == MOST_READINGS


class _Hub:
    """A hub that follows `seen`, and whose prx answer when they may."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.free = asyncio.Event()
        self.free.set()

    async def ask(self, _seen: Seen, _do: str, **_more: Any) -> dict[str, Any]:
        await self.free.wait()
        return {"tunnels": [{}]}


async def test_prx_that_are_not_followed_any_more_leave_nothing_behind() -> None:
    """Hundreds that come and go cost no memory; one that is asked just now keeps its turn."""
    now = 0.0
    hub = _Hub()
    questions = Questions(hub, lambda: now)  # type: ignore[arg-type]  # it does what one does
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for number in range(300):
            hub.seen = [Seen("stays", Path()), Seen(f"prx-{number}", Path())]
            for seen in hub.seen:
                await questions.story(seen, "web")
            now += KEEP_SECONDS
        assert set(questions._turns) == {"stays", "prx-299"}
        hub.free.clear()
        asking = group.create_task(questions.story(hub.seen[1], "web"))
        await asyncio.sleep(0)
        turns = questions._turns["prx-299"]
        hub.seen = [Seen("another", Path())]
        other = group.create_task(questions.story(hub.seen[0], "web"))
        await asyncio.sleep(0)
        assert questions._turns["prx-299"] is turns
        assert set(questions._turns) == {"prx-299", "another"}
        hub.free.set()
        await asking
        await other
