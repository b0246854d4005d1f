"""`prx.open_tunnel` where no asyncio loop runs, as under trio: an error that says so, and a tunnel that is released."""

from __future__ import annotations

import pytest
from tests.client.program import Home, wait_for_end_of

import prx

SAID = "prx.open_tunnel needs asyncio, and no asyncio loop runs here"


def test_it_is_not_opened() -> None:
    """Awaited by another library, it raises UsageError at once, with what works there."""
    with pytest.raises(prx.UsageError, match=SAID) as refusal:
        prx.open_tunnel(8080).__aenter__().send(None)  # as every library drives a coroutine
    assert "trio.to_thread.run_sync" in refusal.value.hint


@pytest.mark.parametrize(
    "call",
    ["t.status().send(None)", "t.wait_until_verified().send(None)", "t.events().asend(None).send(None)", "t.on_change(print)"],
)
def test_it_is_not_asked(home: Home, call: str) -> None:
    """A tunnel that a loop has opened, and that another library asks, raises the same; to close it releases prx."""
    source = f"""
    import asyncio, os, prx
    t = prx.open_tunnel(1, lab=os.environ["LAB"])
    asyncio.run(t.open())
    print("pid", t.pid)
    try:
        {call}
    except prx.UsageError as error:
        print("said", error)
    try:
        t.close().send(None)
    except StopIteration:
        print("closed")
    input()
    """
    with home.python(source) as program:
        pid = int(program.line("pid "))
        assert program.line("said ") == SAID
        program.line("closed")
        wait_for_end_of(pid)
        program.go_on()
        program.succeed()


def test_a_thread_that_cannot_be_had_has_a_reason(home: Home) -> None:
    """When the interpreter ends no thread can be started: that is said, not that a limit is to be raised."""
    source = """
    import threading, prx
    def refused(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")
    threading.Thread.start = refused
    import asyncio
    try:
        asyncio.run(prx.open_tunnel(1).open())
    except prx.PrxError as error:
        print("said", error, "hint", error.hint)
    """
    with home.python(source) as program:
        said = program.line("said ")
        assert said == "this program cannot start a thread: can't create new thread at interpreter shutdown hint "
        program.succeed()
