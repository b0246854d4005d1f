"""A forked child that closes its copy of a tunnel, or lives on: neither its parent notices it, nor prx."""

from __future__ import annotations

import os
import signal

import pytest
from tests.client.program import Home, lives, wait_for_end_of
from tests.support.origin import HostedOrigin
from tests.support.visitor import request

FORK = """
    import asyncio, os, subprocess, sys, threading, prx
    LAB = os.environ["LAB"]

    def fds():
        return len(os.listdir("/proc/self/fd"))

    def in_a_child(call):
        if not (pid := os.fork()):
            try:
                os._exit(call())
            finally:
                os._exit(99)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_the_parents_wait_goes_on(home: Home, origin: HostedOrigin) -> None:
    """A thread that waits for a request when a child closes the tunnel gets the request."""
    source = (
        FORK
        + f"""
    with prx.tunnel({origin.port}, lab=LAB, inspect=True) as t:
        url, found = t.wait_until_verified(), []
        waiting = threading.Thread(target=lambda: found.append(t.wait_for_request("POST")))
        waiting.start()
        while not t._link._asking:
            os.sched_yield()
        assert in_a_child(lambda: t.close() or 0) == 0
        print("url", url)
        waiting.join()
        print("found", found[0].path)
    """
    )
    with home.python(source) as program:
        request("POST", f"{program.line('url ')}/mirror", body=b"one")
        assert program.line("found ") == "/mirror"
        program.succeed()


def test_the_parents_events_go_on(home: Home, origin: HostedOrigin) -> None:
    """An iterator of events that a child has closed, with the tunnel, yields those of a restart to its parent."""
    source = (
        FORK
        + f"""
    with prx.tunnel({origin.port}, lab=LAB) as t:
        t.wait_until_verified()
        events = t.events()
        assert in_a_child(lambda: t.close() or 0) == 0
        subprocess.run([sys.executable, "-m", "prx", "restart"], check=True)
        print("another", any(event["event"] == "url_changed" for event in events))
    """
    )
    with home.python(source) as program:
        assert program.line("another ") == "True"
        program.succeed()


@pytest.mark.parametrize("used", ["t.url", "t.events()", "t.on_change(see)", "threading.Thread(target=wait).start()"])
def test_a_fork_takes_nothing_along(home: Home, used: str) -> None:
    """However the tunnel is used, a child has as many descriptors as the program had before it was opened."""
    source = (
        FORK
        + f"""
    seen, before = threading.Event(), fds()

    def see(status):
        seen.set()

    def wait():
        try:
            t.wait_until_verified(timeout=3000)
        except prx.NotRunningError:
            pass

    with prx.tunnel(1, lab=LAB) as t:
        using = {used}
        if "see" in "{used}":
            assert seen.wait(60)
        while "wait" in "{used}" and not t._link._asking:
            os.sched_yield()
        print("left", in_a_child(lambda: fds() - before))
    """
    )
    with home.python(source) as program:
        assert program.line("left ") == "0"
        program.succeed()


def test_a_loop_in_a_child_is_its_parents(home: Home) -> None:
    """A child of a program that has opened a tunnel on a loop closes it without that loop, and its parent has it still."""
    source = (
        FORK
        + """
    async def main():
        async with prx.open_tunnel(1, lab=LAB) as t:
            news = asyncio.Queue()
            t.on_change(news.put_nowait)
            await news.get()

            def close():
                try:
                    t.close().send(None)
                except StopIteration:
                    return 0

            print("closed", in_a_child(close))
            print("state", (await t.status()).state != "idle")

    asyncio.run(main())
    """
    )
    with home.python(source) as program:
        assert program.line("closed ") == "0"
        assert program.line("state ") == "True"
        program.succeed()


@pytest.mark.parametrize("event", ["subprocess.Popen", "socket.connect"])
def test_a_child_of_the_opening_holds_nothing(home: Home, origin: HostedOrigin, event: str) -> None:
    """Children that are forked in the middle of an opening, as another thread may do, and live on do not keep prx."""
    source = f"""
    import os, signal, sys, prx
    opening, children = False, []

    def fork(name, arguments):
        global opening
        if opening and name == "{event}":
            opening = False
            if not (pid := os.fork()):
                os.closerange(0, 3)
                signal.pause()
            children.append(pid)
            opening = True

    sys.addaudithook(fork)
    t = prx.tunnel({origin.port}, lab=os.environ["LAB"])
    opening = True
    t.open()
    opening = False
    print("pid", t.pid, *children)
    input()
    """
    with home.python(source) as program:
        pid, *children = map(int, program.line("pid ").split())
        os.kill(program.process.pid, signal.SIGKILL)
        wait_for_end_of(pid)
        assert children
        assert all(map(lives, children))


def test_a_child_of_a_loop_has_no_connection(home: Home) -> None:
    """The connection that a tunnel on a loop has taken over is closed in a child, as that of a tunnel without one is."""
    source = (
        FORK
        + """
    def sockets():
        paths = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        return {os.readlink(path) for path in paths if os.path.islink(path) and "socket:" in os.readlink(path)}

    async def main():
        before = sockets()
        async with prx.open_tunnel(1, lab=LAB, inspect=True) as t:
            waiting = asyncio.create_task(t.wait_for_request("POST"))
            while not t._conversations:
                await asyncio.sleep(0)
            ours = sockets() - before
            print("parent", len(ours))
            print("child", in_a_child(lambda: len(ours & sockets())))
            waiting.cancel()
            print("state", (await t.status()).state != "idle")

    asyncio.run(main())
    """
    )
    with home.python(source) as program:
        assert int(program.line("parent ")) > 0
        assert program.line("child ") == "0"
        assert program.line("state ") == "True"
        program.succeed()
