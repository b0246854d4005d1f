"""Private names, asked of this machine's own resolver: what it says, and what only shows that it cannot be asked."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from prx.config.local_addr import LocalAddr
from prx.core.evidence import DnsState
from prx.runtime.hooks.kinds import Change, HookError
from prx.runtime.hooks.web import WebHook
from prx.runtime.probes.listening import accepts
from prx.runtime.probes.origin import probe_origin
from prx.runtime.probes.own_resolver import addresses_of
from prx.runtime.probes.resolver import by_system

NO_THREAD = RuntimeError("can't start new thread")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Have each question to the resolver end with an error."""

    def fail(error: BaseException) -> None:
        async def getaddrinfo(*_: object, **__: object) -> list[Any]:
            raise error

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)

    return fail


async def test_an_address_is_its_own_answer() -> None:
    """Nothing is asked for it."""
    for address in ("127.0.0.1", "::1", "192.0.2.7"):
        assert await addresses_of(address, 80, timeout=1) == [address]


@pytest.mark.parametrize(
    ("error", "kind", "number"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), socket.gaierror, socket.EAI_NONAME),
        (UnicodeError("label too long"), socket.gaierror, socket.EAI_NONAME),
        (NO_THREAD, BlockingIOError, errno.EAGAIN),
        (TimeoutError(), TimeoutError, None),
    ],
    ids=["unknown", "no name", "no thread", "no answer"],
)
async def test_why_there_is_no_address(
    asked: Callable[[BaseException], None], error: BaseException, kind: type[OSError], number: int | None
) -> None:
    """That a name is unknown, and that it could not be asked for, are two things."""
    asked(error)
    with pytest.raises(kind) as caught:
        await addresses_of("service.internal", 80, timeout=1)
    assert (type(caught.value), caught.value.errno) == (kind, number)


async def by_the_probe() -> str:
    """Return why a service has no answer, and what helps."""
    found = await probe_origin("service.internal", 80)
    assert not found.listening
    return f"{found.error}; {found.hint}"


async def by_the_start() -> str:
    """Return whether a service takes connections."""
    return str(await accepts(LocalAddr.parse("service.internal:80")))


async def by_public_dns() -> str:
    """Return what is said if no public DNS service answers."""
    found = await by_system("app.example.com")
    assert found.state is DnsState.UNKNOWN
    return found.detail


async def by_a_hook() -> str:
    """Return why a hook is tried again."""
    with pytest.raises(HookError) as caught:
        await WebHook("http://hooks.internal/x").deliver(Change("web", "https://a.example", ""))
    assert not caught.value.permanent
    return str(caught.value)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (by_the_probe, "cannot look up the name service.internal: no thread is left to ask the resolver in; this machine"),
        (by_the_start, "False"),
        (by_public_dns, "this machine's own resolver cannot be asked: no thread is left"),
        (by_a_hook, "this machine cannot look up the name hooks.internal: no thread is left"),
    ],
)
async def test_a_machine_without_threads_says_nothing_of_a_name(
    asked: Callable[[BaseException], None], ask: Callable[[], Coroutine[Any, Any, str]], words: str
) -> None:
    """Each part that asks for a name goes on, names what is lacking, and blames neither the name nor the service for it."""
    asked(NO_THREAD)
    said = await ask()
    assert said.startswith(words)
    assert "ulimit -u" in said or ask is not by_the_probe
