"""Tunnels from Python, each in a fresh process, against a real edge: shared, held, let go, and nothing left behind."""

from __future__ import annotations

import os
import signal

import pytest
from tests.client.program import Home, lives, wait_for_end_of
from tests.support.origin import HostedOrigin
from tests.support.visitor import request

# what a process has: its threads, descriptors and children
LEFT = """
    import os, threading
    from pathlib import Path

    def left():
        fds = os.listdir("/proc/self/fd")
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return [thread.name for thread in threading.enumerate()], len(fds), children
"""
HOLD = """
    import os, prx
    with prx.tunnel({port}, lab=os.environ["LAB"]) as t:
        print("url", t.wait_until_verified())
        print("pid", t.pid)
        input()
"""


def test_a_script_gets_its_url_and_leaves_nothing(home: Home, origin: HostedOrigin) -> None:
    """A `with` block has the URL, visitors reach the service, and after it no thread, child or descriptor is left."""
    source = (
        LEFT
        + f"""
    import prx
    before = left()
    with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
        print("verified", t.wait_until_verified())
        assert t.status().is_up and t.status().url == t.url
        assert left()[0] == before[0] and left()[2] == [], left()
        print("pid", t.pid)
        input()
    print("left", left() == before, before, left())
    """
    )
    with home.python(source) as program:
        url = program.line("verified ")
        pid = int(program.line("pid "))
        assert request("GET", url).text == "hello from the origin"
        program.go_on()
        assert program.line("left ").startswith("True"), program.story()
        assert not lives(pid)
        program.succeed()


def test_programs_share_one_tunnel_until_the_last_goes(home: Home, origin: HostedOrigin) -> None:
    """Three programs that start at once get the same URL of one prx, which survives the first two and ends with the third."""
    source = HOLD.format(port=origin.port)
    with home.python(source, name="a.py") as a, home.python(source, name="b.py") as b, home.python(source, name="c.py") as c:
        programs = [a, b, c]
        (url,) = {program.line("url ") for program in programs}
        (pid,) = {int(program.line("pid ")) for program in programs}
        for program in programs[:2]:
            program.go_on()
            program.succeed()
        assert lives(pid)
        assert request("GET", url).status_code == 200
        c.go_on()
        c.succeed()
        wait_for_end_of(pid)


def test_it_ends_with_a_killed_program(home: Home, origin: HostedOrigin) -> None:
    """After `kill -9` of the program prx and its connector end by themselves."""
    source = f"""
    import os, prx
    t = prx.tunnel({origin.port}, lab=os.environ["LAB"]).open()
    t.wait_until_verified()
    print("pids", t.pid, t.status().raw["connectors"][0]["pid"])
    input()
    """
    with home.python(source) as program:
        pids = [int(word) for word in program.line("pids ").split()]
        os.kill(program.process.pid, signal.SIGKILL)
        for pid in pids:
            wait_for_end_of(pid)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_share_it_and_do_not_keep_it(home: Home, origin: HostedOrigin, method: str) -> None:
    """A forked child asks and closes without ending it; children of either kind share it; one that stays keeps nothing."""
    source = f"""
    import multiprocessing, os, sys, prx

    def child(pipe):
        with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
            pipe.send((t.url, t.pid))

    def stay(pipe):
        pipe.recv()

    if __name__ == "__main__":
        with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
            if os.environ["METHOD"] == "fork":
                if not (pid := os.fork()):
                    assert t.status().url == t.url
                    t.close()
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
            context = multiprocessing.get_context(os.environ["METHOD"])
            ours, theirs = context.Pipe()
            process = context.Process(target=child, args=(theirs,))
            process.start()
            assert ours.recv() == (t.url, t.pid)
            process.join()
            assert t.status().url == t.url
            staying = context.Process(target=stay, args=(theirs,))
            staying.start()
            print("pid", t.pid, staying.pid)
            input()
    """
    home.env["METHOD"] = method
    with home.python(source) as program:
        pid, staying = map(int, program.line("pid ").split())
        os.kill(program.process.pid, signal.SIGKILL)
        wait_for_end_of(pid)
        assert method == "spawn" or lives(staying)  # of the other kind it sees the end of its pipe


def test_a_change_is_reported_in_a_thread_and_on_a_loop(home: Home, origin: HostedOrigin) -> None:
    """`on_change` reports what is, then another URL after a restart, until it is ended; a callback that fails ends nothing."""
    source = (
        LEFT
        + f"""
    import asyncio, subprocess, sys, prx

    def restart():
        subprocess.run([sys.executable, "-m", "prx", "restart"], check=True)

    seen, news = [], threading.Condition()
    def see(status):
        with news:
            if status.proven and status.url not in seen:
                seen.append(status.url)
                news.notify_all()
        raise RuntimeError("as users' callbacks do")

    with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
        before = left()
        stop = t.on_change(see)
        with news:
            assert news.wait_for(lambda: len(seen) == 1, 60)
        restart()
        with news:
            assert news.wait_for(lambda: len(seen) == 2, 60)
        assert t.url == seen[1] != seen[0]
        stop()
        assert left() == before

        async def main():
            urls = asyncio.Queue()
            async with prx.open_tunnel({origin.port}, lab=os.environ["LAB"]) as shared:
                assert shared.pid == t.pid
                shared.on_change(lambda status: urls.put_nowait(status.url))
                assert await asyncio.wait_for(urls.get(), 60) == t.url
                await asyncio.to_thread(restart)
                while (await asyncio.wait_for(urls.get(), 60)) in ("", seen[1]):
                    pass

        asyncio.run(main())
        assert left() == before
    print("well")
    """
    )
    with home.python(source) as program:
        program.line("well")
        assert any("as users' callbacks do" in line for line in program.lines)
        program.succeed()


def test_events_are_an_iterator(home: Home, origin: HostedOrigin) -> None:
    """Both kinds of tunnel yield the events of `prx start --json`; a cancelled wait or start leaves nothing open."""
    source = (
        LEFT
        + f"""
    import asyncio, prx

    async def main():
        loop_before = len(asyncio.all_tasks())
        before = left()
        opening = asyncio.ensure_future(prx.open_tunnel({origin.port}, lab=os.environ["LAB"]).open())
        await asyncio.sleep(0.3)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        async with prx.open_tunnel({origin.port}, lab=os.environ["LAB"], health_path="/") as t:
            async for event in t.events():
                if event["event"] == "url_changed":
                    break
            assert event["url"] == t.url == await t.wait_until_verified() == (await t.status()).url
            waiting = asyncio.ensure_future(anext(t.events()))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0)
        for thread in threading.enumerate():
            if thread.name.startswith("prx"):
                await asyncio.to_thread(thread.join, 30)
        assert len(asyncio.all_tasks()) == loop_before
        return before

    before = asyncio.run(main())
    assert [name for name in left()[0] if "prx" in name] == [], left()
    with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
        events = t.events()
        names = {{next(events)["event"] for _ in range(3)}}
        assert names, names
        t.close()
        assert list(events) is not None
    print("well", before, left())
    """
    )
    with home.python(source) as program:
        program.line("well")
        program.succeed()


def test_a_thread_may_open_it_and_another_close_it(home: Home, origin: HostedOrigin) -> None:
    """No main thread and no signal is needed, and Ctrl-C in a program that waits ends the wait with nothing left."""
    source = (
        LEFT
        + f"""
    import signal, prx
    before = left()
    handlers = [signal.getsignal(n) for n in range(1, 65) if n not in (32, 33)]
    opened = []
    t = prx.tunnel({origin.port}, lab=os.environ["LAB"])
    worker = threading.Thread(target=lambda: opened.append(t.open().wait_until_verified()))
    worker.start()
    worker.join()
    assert opened == [t.url]
    t.close()
    assert [signal.getsignal(n) for n in range(1, 65) if n not in (32, 33)] == handlers
    try:
        prx.tunnel(1, lab=os.environ["LAB"], timeout=0.2).open()
    except prx.NotReadyError as error:
        print("late", error.code, error.exit_code)
    try:
        with prx.tunnel(1, lab=os.environ["LAB"]) as t:
            print("pid", t.pid)
            t.wait_until_verified()
    except KeyboardInterrupt:
        interrupted = True  # within this block its traceback holds what it broke off, such as a socket that was just made
    print("left", interrupted and left() == before, before, left())
    """
    )
    with home.python(source) as program:
        assert program.line("late ") == "not_ready 4"
        pid = int(program.line("pid "))
        os.kill(program.process.pid, signal.SIGINT)
        assert program.line("left ").startswith("True"), program.story()
        program.succeed()
        wait_for_end_of(pid)


def test_threads_that_open_at_once_share_one(home: Home, origin: HostedOrigin) -> None:
    """Eight threads, each with a tunnel of its own for the same address, have one prx; the last one's end is its end."""
    source = (
        LEFT
        + f"""
    import prx
    before, found, all_there = left(), [], threading.Barrier(9)

    def use():
        with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
            found.append((t.url, t.pid))
            all_there.wait()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    all_there.wait()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1, found
    print("pid", found[0][1], left() == before, before, left())
    """
    )
    with home.python(source) as program:
        pid, same = program.line("pid ").split()[:2]
        assert same == "True", program.story()
        wait_for_end_of(int(pid))
        program.succeed()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("prx.tunnel('80a')", "UsageError usage 2 '80a' is not a local address"),
        ("prx.tunnel(8080, allow='all')", "UsageError usage 2 allow: found 'all'"),
        ("prx.tunnel(8080, keep=-1)", "UsageError usage 2 keep: found -1"),
        ("prx.tunnel(8080, timeout=0).open()", "UsageError usage 2 timeout: found 0"),
        ("prx.tunnel(8080, hello=True)", "UsageError usage 2 hello is the local service itself"),
        ("prx.tunnel(config='none.toml').open()", "UsageError config 2 the configuration has 1 problem"),
        ("prx.tunnel(config='two.toml', lab=LAB).open()", "UsageError usage 2 several tunnels are configured"),
        (
            "prx.tunnel(config='two.toml', lab=LAB, name='c').open()",
            "UsageError usage 2 no tunnel is called 'c'; running: a, b",
        ),
        ("prx.tunnel(config='bad.toml').open()", "PermanentError misconfigured 3 "),
        ("prx.tunnel(8080, lab='http://127.0.0.1:1').open()", "PrxError failed 1 no lab answers"),
        ("prx.tunnel(8080).status()", "NotRunningError not_running 3 the tunnel is not open"),
        ("prx.tunnel(8080, lab=LAB).open().requests()", "UsageError inspection_off 2 "),
        ("prx.tunnel(8080, lab=LAB).open().wait_for_request()", "UsageError inspection_off 2 "),
        ("prx.tunnel(config='one_inspected.toml', lab=LAB, name='b').open().requests()", "UsageError inspection_off 2 what"),
        ("prx.tunnel(config='gate.toml', lab=LAB).open().wait_for_request()", "UsageError inspection_off 2 what"),
        ("prx.tunnel(8080, inspect=True, lab=LAB).open().requests('a:b')", "UsageError usage 2 found 'a:b' in the filter"),
        (
            "prx.tunnel(8080, inspect=True, lab=LAB).open().wait_for_request(timeout=0.1)",
            "NotReadyError not_ready 4 no request",
        ),
        ("prx.tunnel(8080, inspect=1)", "UsageError usage 2 inspect: found 1"),
        ("prx.asgi.lifespan(8080, keep='x')", "UsageError usage 2 keep: found 'x'"),
    ],
)
def test_errors_are_exceptions(home: Home, call: str, said: str) -> None:
    """What goes wrong is an exception with a code, a hint and the exit code that `prx start` would end with."""
    (home.path / "two.toml").write_text("[tunnels.a]\nlocal_addr = '1'\n[tunnels.b]\nlocal_addr = '2'\n")
    (home.path / "one_inspected.toml").write_text(
        "[tunnels.a]\nlocal_addr = '1'\n[tunnels.a.inspect]\nenabled = true\n[tunnels.b]\nlocal_addr = '2'\n"
    )
    (home.path / "gate.toml").write_text('[tunnel.gate]\nallow_ip = ["192.0.2.0/24"]\n')
    (home.path / "bad.toml").write_text('[tunnel.cloudflare]\ncloudflared_path = "/no/such/cloudflared"\n')
    source = f"""
    import os, prx
    LAB = os.environ["LAB"]
    try:
        {call}
    except prx.PrxError as error:
        print("said", type(error).__name__, error.code, error.exit_code, error)
        assert error.hint or type(error).__name__ in ("UsageError", "PermanentError")
        assert error.code != "inspection_off" or "inspect" in error.hint
    """
    with home.python(source) as program:
        assert program.line("said ").startswith(said), program.story()
        program.succeed()


def test_requests_are_waited_for(home: Home, origin: HostedOrigin) -> None:
    """Both kinds of tunnel return what comes once, in order, and wait for it; what came before they were opened is not."""
    source = f"""
    import asyncio, os, prx
    with prx.tunnel({origin.port}, lab=os.environ["LAB"], inspect=True) as t:
        print("verified", t.wait_until_verified())
        first = t.wait_for_request("POST")
        print("first", first.path, first.body, first.status)
        async def main():
            async with prx.open_tunnel({origin.port}, lab=os.environ["LAB"], inspect=True) as shared:
                assert shared.pid == t.pid
                print("waiting")
                second = await shared.wait_for_request("POST /mirror")
                print("second", second.path)
                assert len(await shared.requests("POST")) == 2
        asyncio.run(main())
        assert t.wait_for_request("POST").path == "/mirror?2"
        try:
            prx.tunnel({origin.port}, lab=os.environ["LAB"], inspect=True).open().wait_for_request("POST", timeout=0.1)
        except prx.NotReadyError:
            print("none")
    """
    with home.python(source) as program:
        url = program.line("verified ")
        request("POST", f"{url}/mirror?1", body=b"one")
        assert program.line("first ") == "/mirror?1 b'one' 200"
        program.line("waiting")
        request("POST", f"{url}/mirror?2", body=b"two")
        assert program.line("second ") == "/mirror?2"
        program.line("none")
        program.succeed()


def test_other_settings_are_not_shared(home: Home, origin: HostedOrigin) -> None:
    """A tunnel that only some may visit is never swapped for one that runs and lets all in, nor a lab for the public edge."""
    source = f"""
    import os, prx
    with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
        for more in ({{"allow": "me@example.com"}}, {{"lab": False}}, {{"expect": "204"}}):
            try:
                prx.tunnel({origin.port}, **{{"lab": os.environ["LAB"], **more}}).open()
            except prx.UsageError as error:
                print("said", error)
        print("url", t.url)
    """
    with home.python(source) as program:
        assert "without allow, expected with allow='me@example.com'" in program.line("said ")
        assert "with a lab, expected the public edge" in program.line("said ")
        assert "without expect, expected with expect='204'" in program.line("said ")
        program.succeed()


def test_a_hundred_rounds_leave_nothing(home: Home, origin: HostedOrigin) -> None:
    """A hundred times opened and closed, with callbacks, events and loops: no thread, child or descriptor is left.

    They share the prx of the program; PRX_TEST_ROUNDS more have a prx of their own each.
    """
    rounds = int(os.environ.get("PRX_TEST_ROUNDS", "3"))
    source = (
        LEFT
        + f"""
    import asyncio, prx

    def once(t):
        seen = threading.Event()
        t.on_change(lambda status: seen.set())
        assert seen.wait(60)
        t.events()
        assert t.url.startswith("http")

    async def turn():
        async with prx.open_tunnel({origin.port}, lab=os.environ["LAB"]) as t:
            await t.status()
            t.on_change(print)

    before = left()
    with prx.tunnel({origin.port}, lab=os.environ["LAB"]):
        inside = left()
        for number in range(50):
            with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
                once(t)
            asyncio.run(turn())
            print("round", number)
        assert left() == inside, (inside, left())
    pids = set()
    for number in range({rounds}):
        with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
            pids.add(t.pid)
        print("own round", number)
    assert len(pids) == {rounds}
    print("left", left() == before, before, left())
    """
    )
    with home.python(source) as program:
        assert program.line("left ").startswith("True"), program.story()
        program.succeed()
