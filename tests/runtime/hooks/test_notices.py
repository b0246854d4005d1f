"""`on_change`: real commands and real servers hear the news, in order, signed, and never in the way."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.runtime.hooks.conftest import InstantClock, running
from tests.runtime.hooks.test_hooks import script
from tests.support.servers import Handler, Servers, forever
from tests.support.waits import PATIENCE

from prx.config.schema import TunnelSettings
from prx.core.events import Event, Fact, HookRan, Log, RestartScheduled, UrlKnown, VerdictChanged
from prx.core.verdicts import Verdict
from prx.runtime.hooks.apprise import AppriseHook
from prx.runtime.hooks.attempts import LATER, deliver_repeatedly
from prx.runtime.hooks.chosen import notice_hooks
from prx.runtime.hooks.command import CommandHook
from prx.runtime.hooks.kinds import Change
from prx.runtime.hooks.line import LINE
from prx.runtime.hooks.notices import NoticeRunner
from prx.runtime.hooks.web import WebHook
from prx.secrets.value import Secret


def receiver(status: int) -> tuple[list[bytes], Handler]:
    """Return a handler that answers every request with `status`, and the bodies that it got."""
    bodies: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await reader.read(65536))
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()

    return bodies, handle


class Bench:
    """A runner of notices for the tunnel "web", and the results of its hooks."""

    def __init__(self, folder: Path) -> None:
        self.settings = TunnelSettings()
        self.results: asyncio.Queue[HookRan] = asyncio.Queue()
        self.said: list[str] = []
        self.clock = InstantClock()
        self.runner = NoticeRunner(
            self._publish,
            self.clock,
            lambda name: self.settings if name == "web" else None,
            folder=folder,
            environ={"PATH": "/usr/bin:/bin"},
            redact=lambda line: line.replace("hunter2", "***"),
        )

    def _publish(self, fact: Fact) -> None:
        if isinstance(fact, Log):
            self.said.append(fact.message)
            return
        assert isinstance(fact, HookRan)
        self.results.put_nowait(fact)

    def see(self, *facts: Fact) -> None:
        for number, fact in enumerate(facts):
            self.runner.see(Event(number, 1000.0, fact))

    async def result(self) -> HookRan:
        return await asyncio.wait_for(self.results.get(), PATIENCE)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Run a runner until the test ends."""
    bench = Bench(tmp_path)
    async with running(bench.runner):
        yield bench


def failed(tunnel: str = "web") -> Fact:
    """Return a fact that is news at once."""
    return VerdictChanged(tunnel=tunnel, old="", new=Verdict.AUTH_REJECTED, reason="the token is void", hint="take a new one")


def warnings(count: int) -> Iterator[Fact]:
    """Yield facts that make so many pieces of news: each time another URL will be lost. The reason is a number, from 0."""
    for number in range(count):
        yield UrlKnown(tunnel="web", url=f"https://{number}.example")
        yield RestartScheduled(tunnel="web", delay=5, attempt=1, reason=str(number), costs_url=True)


async def test_a_command_finds_the_news(bench: Bench, tmp_path: Path) -> None:
    """It is in the environment and, as JSON, on stdin."""
    bench.settings = TunnelSettings(on_change=(script(tmp_path, "env >seen; cat >stdin"),))
    bench.see(failed())
    assert (await bench.result()).ok
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines() if line.startswith("PRX_"))
    assert (seen["PRX_EVENT"], seen["PRX_VERDICT"], seen["PRX_TUNNEL"]) == ("trouble", "auth_rejected", "web")
    assert json.loads((tmp_path / "stdin").read_text())["data"]["reason"] == "the token is void"


async def test_a_server_gets_a_signed_request(bench: Bench, servers: Servers) -> None:
    """The signature is the HMAC-SHA256 of the very bytes of the body, with the key of the configuration."""
    bodies, handler = receiver(204)
    server = await servers.start(handler)
    bench.settings = TunnelSettings(on_change=(f"{server.url}/hook",), hook_secret=Secret("a key of mine"))
    bench.see(failed())
    assert (await bench.result()).ok
    head, body = server.heads[0], bodies[0]
    expected = hmac.new(b"a key of mine", body, hashlib.sha256).hexdigest()
    assert f"x-prx-signature: sha256={expected}".encode() in head.lower()
    assert json.loads(body)["event"] == "trouble"


async def test_without_a_key_nothing_is_signed(bench: Bench, servers: Servers) -> None:
    """No key, no header: an empty signature would be taken for one."""
    _, handler = receiver(200)
    server = await servers.start(handler)
    bench.settings = TunnelSettings(on_change=(server.url,))
    bench.see(failed())
    await bench.result()
    assert b"x-prx-signature" not in server.heads[0].lower()


async def test_a_server_that_fails_is_asked_three_times_more(bench: Bench, servers: Servers) -> None:
    """After 1, 5 and 15 seconds; then the result says so, and that it is kept."""
    _, handler = receiver(500)
    server = await servers.start(handler)
    bench.settings = TunnelSettings(on_change=(server.url,))
    bench.see(failed())
    result = await bench.result()
    assert (result.ok, result.tries, result.kept, result.detail) == (False, 4, True, "it answers 500")
    assert bench.clock.waits == [1.0, 5.0, 15.0, LATER.delay(1)]


async def test_news_comes_in_order_and_none_is_dropped(bench: Bench, tmp_path: Path) -> None:
    """A hook hears one piece of news after the other, unlike on_url, whose older URL is worthless."""
    bench.settings = TunnelSettings(on_change=(script(tmp_path, 'echo "$PRX_REASON" >>seen'),))
    bench.see(*warnings(5))
    for _ in range(5):
        await bench.result()
    assert (tmp_path / "seen").read_text().split() == ["0", "1", "2", "3", "4"]


async def test_a_hook_that_hangs_holds_up_no_other_and_its_line_is_bounded(
    bench: Bench, tmp_path: Path, servers: Servers
) -> None:
    """While a server is silent the command hears everything; what waits for the server is bounded, the newest kept."""

    async def say_nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await forever()

    silent = await servers.start(say_nothing)
    bench.settings = TunnelSettings(on_change=(silent.url, script(tmp_path, "true")))
    bench.see(*warnings(3 * LINE))
    assert (await bench.result()).hook == "./hook.sh"
    waiting = bench.runner.waiting(silent.url)
    assert len(waiting) <= LINE
    assert waiting[-1].data["reason"] == str(3 * LINE - 1)
    assert [words for words in bench.said if silent.url in words]


async def test_a_tunnel_without_on_change_costs_nothing(bench: Bench) -> None:
    """Nothing is remembered of a tunnel without hooks, nor of prx itself."""
    bench.see(failed())
    bench.see(failed(tunnel=""))
    await bench.runner.farewell()
    assert bench.results.empty()


async def test_farewell_waits_for_what_is_under_way(bench: Bench, tmp_path: Path) -> None:
    """Prx that ends because nothing can run has delivered the news of it before."""
    bench.settings = TunnelSettings(on_change=(script(tmp_path, "sleep 0.3; touch heard"),))
    bench.see(failed())
    await bench.runner.farewell()
    assert (tmp_path / "heard").exists()


def test_the_kinds_of_hook(tmp_path: Path) -> None:
    """A URL is posted to, another address is apprise's, and the rest are commands; an address shows only its scheme."""
    texts = ("https://x.example/a", "slack://tok/en", "mailto://me:hunter2@x.example", "./run.sh https://x", "notify-send x")
    hooks = notice_hooks(TunnelSettings(on_change=texts), tmp_path, {})
    assert [type(hook) for hook in hooks] == [WebHook, AppriseHook, AppriseHook, CommandHook, CommandHook]
    assert hooks[2].label == "mailto://***"
    assert "hunter2" not in repr(hooks[2])


async def test_apprise_hands_it_over(bench: Bench, servers: Servers) -> None:
    """An address of apprise (its `json://`) reaches a real server with the text for people."""
    bodies, handler = receiver(200)
    server = await servers.start(handler)
    bench.settings = TunnelSettings(on_change=(server.url.replace("http://", "json://"),))
    bench.see(failed())
    result = await bench.result()
    assert (result.ok, result.detail) == (True, "")
    assert b"the token is not accepted (auth_rejected): the token is void" in bodies[0]


async def test_apprise_that_cannot_is_explained(bench: Bench) -> None:
    """An address that it does not know is said in words, without the address."""
    bench.settings = TunnelSettings(on_change=("nosuchservice://secret",))
    bench.see(failed())
    result = await bench.result()
    assert (result.hook, result.ok) == ("nosuchservice://***", False)
    assert result.detail == "apprise does not understand the address"


async def test_without_apprise_the_extra_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setattr("prx.runtime.hooks.apprise.find_spec", lambda _: None)
    bench.settings = TunnelSettings(on_change=("slack://a/b",))
    bench.see(failed())
    assert "pip install 'prx-tunnel[notify]'" in (await bench.result()).detail


@pytest.mark.parametrize("what", ["library", "interpreter"])
async def test_a_hook_that_cannot_be_started_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Without the extra, or without the Python that would send, one try says so."""
    if what == "library":
        monkeypatch.setattr("prx.runtime.hooks.apprise.is_installed", lambda: False)
    else:
        monkeypatch.setattr("prx.runtime.hooks.apprise.is_installed", lambda: True)
        monkeypatch.setattr("sys.executable", str(tmp_path / "gone"))
    change = Change(tunnel="web", url="https://a.example", old="")
    hook = AppriseHook("json://127.0.0.1:1")
    outcome = await deliver_repeatedly(lambda: hook.deliver(change), InstantClock())
    assert (outcome.tries, outcome.kept) == (1, False)
    assert ("not installed" if what == "library" else "No such file") in outcome.trouble
