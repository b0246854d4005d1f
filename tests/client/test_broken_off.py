"""Calls that break off on the way: what they were about to hand out is handed out by the next one."""

from __future__ import annotations

import pytest
from tests.client.program import Home
from tests.support.origin import HostedOrigin
from tests.support.visitor import request

# the answer that says which request has come is there, and the question for all of it breaks off
BREAKS_OFF = """
    import asyncio, os, prx
    LAB = os.environ["LAB"]

    def once(ask, error):
        broken = []
        def asked(do, **arguments):
            if do == "request" and not broken:
                broken.append(do)
                raise error
            return ask(do, **arguments)
        return asked
"""


@pytest.mark.parametrize("error", ["KeyboardInterrupt()", "prx.UnresponsiveError('prx does not answer')"])
def test_a_request_is_not_lost_with_a_wait(home: Home, origin: HostedOrigin, error: str) -> None:
    """Ctrl-C, or a prx that does not answer, in the middle of `wait_for_request`: the next call returns the same request."""
    source = (
        BREAKS_OFF
        + f"""
    with prx.tunnel({origin.port}, lab=LAB, inspect=True) as t:
        print("url", t.wait_until_verified())
        t._link.ask = once(t._link.ask, {error})
        try:
            t.wait_for_request("POST")
        except (KeyboardInterrupt, prx.PrxError):
            print("found", t.wait_for_request("POST").path)
    """
    )
    with home.python(source) as program:
        request("POST", f"{program.line('url ')}/mirror?1", body=b"one")
        assert program.line("found ") == "/mirror?1"
        program.succeed()


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
def test_a_request_is_not_lost_with_a_task(home: Home, origin: HostedOrigin, how: str) -> None:
    """A task that is cancelled, or has no more time, in the middle of `wait_for_request`: the next call returns the request."""
    source = (
        BREAKS_OFF
        + f"""
    async def never(do, **arguments):
        stuck.set()
        await asyncio.Event().wait()

    async def main():
        global stuck
        stuck = asyncio.Event()
        async with prx.open_tunnel({origin.port}, lab=LAB, inspect=True) as t:
            print("url", await t.wait_until_verified())
            ask = t._ask
            t._ask = lambda do, **arguments: (never if do == "request" else ask)(do, **arguments)
            if "{how}" == "cancelled":
                waiting = asyncio.ensure_future(t.wait_for_request("POST"))
                await stuck.wait()
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            else:
                try:
                    async with asyncio.timeout(None) as limit:
                        waiting = asyncio.ensure_future(stuck.wait())
                        waiting.add_done_callback(lambda _: limit.reschedule(0))
                        await t.wait_for_request("POST")
                except TimeoutError:
                    pass
            t._ask = ask
            print("found", (await t.wait_for_request("POST")).path)

    asyncio.run(main())
    """
    )
    with home.python(source) as program:
        request("POST", f"{program.line('url ')}/mirror?1", body=b"one")
        assert program.line("found ") == "/mirror?1"
        program.succeed()


def test_no_callback_holds_up_the_end(home: Home, origin: HostedOrigin) -> None:
    """What ends a callback ends it at once, also while prx, which is stopped, does not answer the follower's question."""
    source = f"""
    import os, signal, threading, time, prx
    from prx.control.client import Client

    stopped, stream = threading.Event(), Client.stream

    def stream_and_stop(self):
        events = stream(self)
        os.kill(t.pid, signal.SIGSTOP)
        stopped.set()
        return events

    with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
        Client.stream = stream_and_stop
        stop = t.on_change(print)
        assert stopped.wait(60)
        began = time.monotonic()
        stop()
        print("took", time.monotonic() - began < 4)  # an answer is waited for 5 s
        os.kill(t.pid, signal.SIGCONT)
    """
    with home.python(source) as program:
        assert program.line("took ") == "True"
        program.succeed()


@pytest.mark.parametrize("last", ["_note_known_requests", "_take"])
def test_an_opening_that_breaks_off_at_its_end_holds_nothing(home: Home, origin: HostedOrigin, last: str) -> None:
    """Ctrl-C when the tunnel is there and `open` is about to return: prx has ended when the program hears of it."""
    source = f"""
    import os, subprocess, sys, prx
    from prx.client.tunnel import Tunnel

    def interrupt(tunnel, *given):
        raise KeyboardInterrupt

    t = prx.tunnel({origin.port}, lab=os.environ["LAB"])
    Tunnel.{last} = interrupt
    try:
        with t:
            pass
    except KeyboardInterrupt:
        print("status", subprocess.run([sys.executable, "-m", "prx", "status"], capture_output=True).returncode)
    """
    with home.python(source) as program:
        assert program.line("status ") == "3"
        program.succeed()
