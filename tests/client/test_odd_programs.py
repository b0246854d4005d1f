"""Programs that are short of something, or ask for what cannot be: `prx.tunnel` says so in a PrxError, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.client.program import Home, lives
from tests.support.origin import HostedOrigin

import prx

# try what a program may do with a tunnel, and print what came of each
TRIES = """
    import os, resource, threading, prx

    def tries(named):
        for name, call in named.items():
            try:
                print(name, "well", call())
            except prx.PrxError as error:
                print(name, "said", type(error).__name__, error, error.hint)
"""


def test_a_program_with_a_thousand_open_files(home: Home, origin: HostedOrigin) -> None:
    """With descriptors above 1023, which select(2) refuses, a tunnel opens, is asked, is followed, and ends with its prx."""
    source = f"""
    import asyncio, os, resource, threading, prx
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]

    async def main():
        async with prx.open_tunnel({origin.port}, lab=os.environ["LAB"]) as t:
            return await t.wait_until_verified(), t.pid

    with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
        seen = threading.Event()
        t.on_change(lambda status: seen.set())
        assert seen.wait(60)
        t.events().close()
        assert t.wait_until_verified() == asyncio.run(main())[0]
    url, pid = asyncio.run(main())
    print("pid", pid)
    """
    with home.python(source) as program:
        assert not lives(int(program.line("pid ")))
        program.succeed()


def test_a_program_that_may_open_no_more_files(home: Home, origin: HostedOrigin) -> None:
    """Each question raises a PrxError that names the program's own limit, the URL is the last one known, and `close` closes."""
    source = (
        TRIES
        + f"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    t = prx.tunnel({origin.port}, lab=os.environ["LAB"]).open()
    url, files, calls = t.url, [], []
    stop = t.on_change(calls.append)
    try:
        while True:
            files.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    tries({{
        "status": t.status, "events": t.events, "requests": t.requests, "verified": t.wait_until_verified,
        "open": prx.tunnel({origin.port}, lab=os.environ["LAB"]).open, "start": prx.tunnel(1, lab=os.environ["LAB"]).open,
    }})
    print("url", t.url == url)
    stop()
    t.close()
    for file in files:
        os.close(file)
    print("closed")
    """
    )
    with home.python(source) as program:
        for name in ("status", "events", "requests", "verified", "open", "start"):
            said = program.line(f"{name} ")
            assert said.startswith("said"), said
            assert "too many open files" in said
            assert "ulimit -n" in said
        assert program.line("url ") == "True"
        program.line("closed")
        program.succeed()


def test_a_program_that_may_start_no_thread(home: Home, origin: HostedOrigin) -> None:
    """What needs a thread raises a PrxError; what needs none works, and the hold goes with `close` all the same."""
    source = (
        TRIES
        + f"""
    import asyncio
    def refused(thread):
        raise RuntimeError("can't start new thread")

    async def main():
        t = prx.open_tunnel({origin.port}, lab=os.environ["LAB"])
        await t.open()
        threading.Thread.start = refused
        await t.status()
        await t.close()

    with prx.tunnel({origin.port}, lab=os.environ["LAB"]) as t:
        start = threading.Thread.start
        threading.Thread.start = refused
        tries({{
            "follow": lambda: t.on_change(print),
            "open": lambda: asyncio.run(prx.open_tunnel({origin.port}, lab=os.environ["LAB"]).open()),
            "status": t.status,
        }})
        threading.Thread.start = start
        tries({{"close": lambda: asyncio.run(main())}})
    print("pid gone")
    """
    )
    with home.python(source) as program:
        assert program.line("follow ").startswith("said PrxError this program cannot start a thread")
        assert program.line("open ").startswith("said PrxError this program cannot start a thread")
        assert program.line("status ").startswith("well")
        assert program.line("close ").startswith("well")
        program.line("pid gone")
        program.succeed()


@pytest.mark.parametrize("fd", [3, 1030])
def test_waiting_for_a_descriptor_of_any_number(fd: int) -> None:
    """The end of a pipe, and a time that is over, are reported for a descriptor above 1023 as of any other."""
    import os
    import resource

    from prx.control.ready import wait_readable

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), max(hard, 2048)))
    reading, writing = os.pipe()
    number = reading if fd == 3 else os.dup2(reading, fd)
    try:
        assert not wait_readable(number, 0)
        os.write(writing, b"x")
        assert wait_readable(number, float("inf"))
    finally:
        for each in {reading, writing, number}:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_module_uses_select() -> None:
    """Every wait for a descriptor is one of poll: another `select.select` would fail only in programs with many files."""
    found = [str(file) for file in Path(prx.__path__[0]).rglob("*.py") if "select.select(" in file.read_text()]
    assert found == []
