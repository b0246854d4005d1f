"""Tunnels for tests: started through a lab, kept by `prx.testing.tunnel_worker`, steered and watched from any thread."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import IO, Any, NoReturn

from prx.app.lab_mode import site_of
from prx.backends.base import EdgeSite
from prx.control.messages import raised
from prx.core.captured import Request, later
from prx.core.errors import NotReadyError, PrxError, UsageError
from prx.core.states import UP
from prx.core.verdicts import Verdict
from prx.testing.hosted import noted, refuse_on_loop
from prx.testing.lab import LabInThread
from prx.testing.visit import Answer, visit

Json = dict[str, Any]
PATIENCE = 60.0  # seconds: the bound on waiting for a verified URL unless the caller says otherwise
_UNDECIDED = ("", Verdict.STARTING, Verdict.DNS_PENDING)


class Tunnel:
    """A tunnel of a test.

    `url` is its verified public URL; `events` and `status` are what `prx start --json` and `prx status --json` print. What
    waits is bounded by `within` seconds and then raises NotReadyError, which reports what prx knows.
    """

    def __init__(self, name: str, order: Callable[..., None]) -> None:
        self.name = name
        self.url = ""
        self.events: list[Json] = []
        self.status: Json = {}
        self._order = order
        self._news = threading.Condition()
        self._refused = ""
        self._over = False
        self._questions = itertools.count(1)
        self._answers: dict[int, Json] = {}
        self._positions: Json = {}  # behind the requests that were waited for

    def take(self, message: Json) -> None:
        """Take note of what the keeper says."""
        with self._news:
            if "event" in message:
                self.events.append(message["event"])
                self.status = message["status"] or self.status
                if message["event"]["event"] == "url_changed":
                    self.url = message["event"]["url"]
            if "answer" in message:
                self._answers[message["question"]] = message["answer"]
            self._refused = message.get("refused", self._refused)
            self._over = self._over or not message.keys() & {"event", "answer"}
            self._news.notify_all()

    def wait_for(self, condition: Callable[[Tunnel], bool], *, within: float = PATIENCE, what: str = "") -> None:
        """Wait until `condition(tunnel)` holds; it is checked now and after every event."""
        refuse_on_loop("tunnel.wait_for")
        with self._news:
            done = self._news.wait_for(lambda: condition(self) or self._over, timeout=within)
            if not condition(self):
                self._fail(what or "what the test waits for", within if not done else None)

    def wait_for_url(self, *, within: float = PATIENCE) -> str:
        """Wait for the verified URL, and return it."""
        self.wait_for(_is_up, within=within, what="verified URL")
        return self.url

    def restart(self, *, within: float = PATIENCE) -> str:
        """Restart the connector and wait until the URL is verified again; a quick tunnel gets another one."""
        refuse_on_loop("tunnel.restart")
        with self._news:
            seen = len(self.events)
        self._order("restart")
        self.wait_for(partial(_is_up_again, seen=seen), within=within, what="end of the restart")
        return self.url

    def stop(self, *, within: float = PATIENCE) -> None:
        """Stop the connector and wait for its end; harmless when it has ended."""
        refuse_on_loop("tunnel.stop")
        if self._over:
            return
        self._order("stop")
        with self._news:
            if not self._news.wait_for(lambda: self._over, timeout=within):
                self._fail("end", within)

    def get(self, path: str = "/", **options: Any) -> Answer:
        """Visit a path of the public URL; `options` are those of `prx.testing.visit.visit`."""
        return self.request("GET", path, **options)

    def post(self, path: str = "/", body: bytes | str = b"", **options: Any) -> Answer:
        """Send a body to a path of the public URL."""
        return self.request("POST", path, body=body, **options)

    def request(self, method: str, path: str = "/", **options: Any) -> Answer:
        """Send any request to a path of the public URL."""
        return visit(self.url + path, method=method, **options)

    def requests(self, words: str = "") -> list[Json]:
        """Return the last requests that came through, as `prx requests --json` prints them; `words` as in its `--filter`."""
        return [dict(item) for item in self._ask({"do": "requests", "filter": words}, 0.0)["requests"]]

    def wait_for_request(self, words: str = "", *, within: float = PATIENCE) -> Request:
        """Return the next request that fits `words`, such as "POST /hook"; wait for it if it has not come yet.

        It has come since the tunnel was started, and no earlier call has returned it, or one that was answered after it.
        Raises NotReadyError after `within` seconds.
        """
        question = {"do": "requests", "filter": words, "oldest": True, "limit": 1, "positions": self._positions}
        answer = self._ask({**question, "wait": within}, within)
        if not answer["requests"]:
            came = ", ".join(f"{item['method']} {item['path']}" for item in self.requests()[-5:]) or "none"
            raise noted(NotReadyError(f"no request such as {words!r} within {within:g} s", hint=f"the last that came: {came}"))
        found = Request.from_json(self._ask({"do": "request", "id": answer["requests"][0]["id"]}, 0.0)["request"])
        self._positions = later(self._positions, answer["positions"])  # only now: the question may have been broken off
        return found

    def _ask(self, ask: Json, seconds: float) -> Json:
        """Ask the keeper about what has passed."""
        refuse_on_loop("tunnel.wait_for_request")
        number = next(self._questions)
        self._order("ask", question=number, ask=ask)
        with self._news:
            self._news.wait_for(lambda: number in self._answers or self._over, timeout=seconds + PATIENCE)
            answer = self._answers.pop(number, None)
        if answer is None:
            self._fail("answer", None if self._over else seconds)
        if not answer["ok"]:
            raise noted(raised(answer))
        return answer

    def _fail(self, what: str, seconds: float | None) -> NoReturn:
        if self._refused:
            raise noted(UsageError(f"the tunnel {self.name!r} cannot be set up: {self._refused}"))
        known = self.status.get("verdict") or self.status.get("state") or "not started"
        when = "before the tunnel ended" if seconds is None else f"within {seconds:g} s"
        hint = str(self.status.get("hint") or _last_lines(self.events))
        raise noted(NotReadyError(f"no {what} {when}: {known}: {self.status.get('reason') or 'no more is known'}", hint=hint))


def _is_up(tunnel: Tunnel) -> bool:
    """Return whether the URL is verified, and the status says so too: that takes several events."""
    status = tunnel.status
    return bool(tunnel.url) and status["state"] in UP and status["verdict"] not in _UNDECIDED


def _is_up_again(tunnel: Tunnel, *, seen: int) -> bool:
    """Return whether a child has started since `seen` events, and the tunnel came up after that."""
    events = iter(tunnel.events[seen:])
    started = any(event["event"] == "child_started" for event in events)
    came_up = any(event["event"] == "state_changed" and event["new"] in UP for event in events)
    return started and came_up and _is_up(tunnel)


def _last_lines(events: list[Json]) -> str:
    lines = [event["message"] for event in events if event["event"] == "log"]
    return f"the last lines of the log: {' / '.join(lines[-3:])}" if lines else ""


class Tunnels:
    """The keeper of a test run, seen from the tests; started when the first tunnel is."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._tunnels: dict[int, Tunnel] = {}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self, lab: LabInThread, settings: Json) -> Tunnel:
        """Start a tunnel with these keys of `[tunnel]` through a lab; does not wait for it to come up."""
        number = next(self._numbers)
        name = settings["cloudflare"].get("hostname", "").partition(".")[0] or "quick"
        tunnel = self._tunnels[number] = Tunnel(name, lambda order, **more: self._send(do=order, id=number, **more))
        self._send(do="start", id=number, name=name, site=site_json(site_of(lab.lab)), tunnel=settings)
        return tunnel

    def close(self) -> None:
        """End the keeper and with it all tunnels."""
        if self._process is None or self._reader is None:
            return
        with suppress(OSError):  # it has ended, which the tests that needed it have reported
            _pipe(self._process.stdin).close()
        self._reader.join()
        self._process.wait()
        _pipe(self._process.stdout).close()
        self._process = None

    def _send(self, **order: Any) -> None:
        with self._lock:
            stdin = _pipe(self._running().stdin)
            try:
                stdin.write(json.dumps(order) + "\n")
                stdin.flush()
            except OSError:
                lost = PrxError("the process that keeps the tunnels of these tests has ended", hint="its stderr says why")
                raise noted(lost) from None  # which pipe broke says nothing to who reads a failed test

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            command = (sys.executable, "-m", "prx.testing.tunnel_worker")
            # in a session of its own: Ctrl-C is for the test run, which then stops its tunnels one by one
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            self._reader = threading.Thread(
                target=self._read, args=(_pipe(self._process.stdout),), name="prx tunnels", daemon=True
            )
            self._reader.start()
        return self._process

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            message = json.loads(line)
            self._tunnels[message["id"]].take(message)
        for tunnel in self._tunnels.values():  # no caller may wait for what can never come
            tunnel.take({"over": None})


def site_json(site: EdgeSite) -> Json:
    """Write a site down for the keeper."""
    return {**asdict(site), "ca_file": str(site.ca_file)}


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def tunnels() -> Iterator[Tunnels]:
    """Yield a keeper for the length of a `with`."""
    keeper = Tunnels()
    try:
        yield keeper
    finally:
        keeper.close()
