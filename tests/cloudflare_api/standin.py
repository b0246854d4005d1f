"""A lab in a thread of its own, so that the synchronous client has something real to talk to, and ways to break its answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2

from prx.cloudflare_api.calls import Api
from prx.cloudflare_api.client import Client
from prx.lab import Lab, LabConfig
from prx.lab.edge.api import permissions
from prx.secrets.value import Secret

T = TypeVar("T")


class Killed(BaseException):
    """Stands for `kill -9`: nothing after it runs but the end of the test's own process model."""


@dataclass
class Stand:
    """A running lab: its API's address and token, and its account, which may be read from the test's thread."""

    lab: Lab
    loop: asyncio.AbstractEventLoop

    @property
    def account(self) -> Any:
        """The lab's account."""
        return self.lab.account

    def do(self, act: Callable[[], T]) -> T:
        """Call something in the lab's own thread."""

        async def call() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def exported(self) -> str:
        """Return all that the account has, as text."""
        return str(self.do(self.account.exported))

    def writes(self) -> int:
        """Return how many requests meant to change something."""
        return int(self.do(lambda: self.account.journal.writes))

    def token(self, *names: str, without: str = "") -> str:
        """Mint a token with all permissions, or these, or all but one row."""
        granted = permissions.parse(names) if names else permissions.ALL
        granted = frozenset(name for name in granted if not (without and name.startswith(without)))
        return str(self.do(lambda: self.account.tokens.mint(granted).value))

    @contextmanager
    def api(self, *, token: str = "", transport: httpx2.BaseTransport | None = None) -> Iterator[Api]:
        """Yield the API as prx speaks it; nothing waits."""
        secret = Secret(token or self.lab.api_token)
        transport = transport or httpx2.HTTPTransport(verify=False)  # a TLS context takes longer than all the rest
        with Client(secret, base=self.lab.api, transport=transport, sleep=lambda _: None) as client:
            yield Api(client)


@contextmanager
def running(config: LabConfig | None = None) -> Iterator[Stand]:
    """Run a lab in a thread for the length of a block."""
    ready: threading.Event = threading.Event()
    held: dict[str, Any] = {}

    async def serve() -> None:
        over = held["over"] = asyncio.Event()
        async with Lab.start(config) as lab:
            held["stand"] = Stand(lab, asyncio.get_running_loop())
            ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="lab")
    thread.start()
    assert ready.wait(20)
    stand: Stand = held["stand"]
    try:
        yield stand
    finally:
        stand.loop.call_soon_threadsafe(held["over"].set)
        thread.join(20)


KINDS = ("403", "429", "429-after", "html", "lost", "conflict", "killed", "killed-after")


@dataclass
class Breaking(httpx2.BaseTransport):
    """Pass requests on, except number `at` (from 0), which goes wrong in the way of `kind`; `at` None: only count."""

    at: int | None = None
    kind: str = ""
    seen: list[str] = field(default_factory=list)
    inner: httpx2.HTTPTransport = field(default_factory=lambda: httpx2.HTTPTransport(verify=False))  # no TLS here
    broken: bool = False

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Perform or break one request."""
        number = len(self.seen)
        self.seen.append(f"{request.method} {request.url.path}")
        if number != self.at or self.broken:
            return self.inner.handle_request(request)
        self.broken = True
        return self._break(request)

    def _break(self, request: httpx2.Request) -> httpx2.Response:
        match self.kind:
            case "403":
                return _json(403, 10000, "Authentication error")
            case "429":
                return _json(429, 971, "rate limited")
            case "429-after":
                return _json(429, 971, "rate limited", {"retry-after": "900"})
            case "html":
                return httpx2.Response(502, text="<html>502 Bad Gateway</html>", headers={"content-type": "text/html"})
            case "lost":
                self.inner.handle_request(request).read()
                raise httpx2.ReadTimeout("the answer is lost", request=request)
            case "conflict":
                codes = {"cfd_tunnel": (409, 1013), "dns_records": (400, 81053), "access": (409, 12136)}
                status, code = next((pair for part, pair in codes.items() if part in request.url.path), (409, 1))
                return _json(status, code, "already exists")
            case "killed":
                raise Killed
            case _:
                self.inner.handle_request(request).read()
                raise Killed

    def close(self) -> None:
        """Close the connections."""
        self.inner.close()


def _json(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    body = {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}
    return httpx2.Response(status, json=body, headers=headers)
