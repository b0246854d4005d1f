"""One tunnel object that is opened twice at once, and one that is closed while it is waited for."""

from __future__ import annotations

import pytest
from tests.client.program import Home
from tests.support.origin import HostedOrigin

HELD = """
    import asyncio, os, threading, prx
    LAB = os.environ["LAB"]
    def fds():
        return len(os.listdir("/proc/self/fd"))
"""


@pytest.mark.parametrize("where", ["threads", "loop"])
def test_opened_twice_at_once(home: Home, origin: HostedOrigin, where: str) -> None:
    """All calls return when it is open, it has one hold, and its one `close` ends prx."""
    source = (
        HELD
        + f"""
    def in_threads():
        t = prx.tunnel({origin.port}, lab=LAB)
        openers = [threading.Thread(target=t.open) for _ in range(4)]
        [each.start() for each in openers]
        [each.join() for each in openers]
        opened, pid = fds(), t.pid
        t.close()
        return opened, fds()

    async def on_a_loop():
        t = prx.open_tunnel({origin.port}, lab=LAB)
        before = fds()
        assert await asyncio.gather(*[t.open() for _ in range(4)]) == [t] * 4
        opened = fds() - before
        await t.close()
        return opened, fds() - before

    before = fds()
    opened, closed = in_threads() if "{where}" == "threads" else asyncio.run(on_a_loop())
    print("holds", opened - (before if "{where}" == "threads" else 0), closed - (before if "{where}" == "threads" else 0))
    """
    )
    with home.python(source) as program:
        assert program.line("holds ") == "1 0", program.story()
        program.succeed()


@pytest.mark.parametrize("where", ["threads", "loop"])
def test_closed_while_it_is_waited_for(home: Home, where: str) -> None:
    """The wait ends at once and says that the tunnel is closed, not that prx does not answer; another user keeps prx."""
    source = (
        HELD
        + f"""
    import time
    def in_threads(question):
        t = prx.tunnel(1, lab=LAB, inspect=True).open()
        timer = threading.Timer(0.3, t.close)
        timer.start()
        try:
            getattr(t, question)(timeout=50)
        except prx.PrxError as error:
            return error
        finally:
            timer.join()

    async def on_a_loop(question):
        t = await prx.open_tunnel(1, lab=LAB, inspect=True).open()
        wait = asyncio.create_task(getattr(t, question)(timeout=50))
        events = asyncio.create_task(anext(aiter(t.events())))
        await asyncio.sleep(0.3)
        await t.close()
        await asyncio.gather(events, return_exceptions=True)
        return (await asyncio.gather(wait, return_exceptions=True))[0]

    with prx.tunnel(1, lab=LAB, inspect=True) as other:
        for question in ("wait_until_verified", "wait_for_request"):
            began = time.monotonic()
            error = in_threads(question) if "{where}" == "threads" else asyncio.run(on_a_loop(question))
            print("said", type(error).__name__, error, time.monotonic() - began < 20)
        other.status()
    """
    )
    with home.python(source) as program:
        for _ in range(2):
            assert program.line("said ") == "NotRunningError the tunnel is closed True"
        program.succeed()
