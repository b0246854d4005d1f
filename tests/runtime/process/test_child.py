"""The life of a child: start, output, signals, exit, and everything that it could leave behind."""

import asyncio
import fcntl
import os
import signal
import termios
from array import array
from pathlib import Path

import psutil
import pytest
from tests.runtime.process.children import Child, gone, python
from tests.support.waits import PATIENCE

from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch
from prx.logs.lines import CUT_MARKER, LINE_LIMIT
from prx.runtime.process.child import ChildProcess
from prx.runtime.process.pipes import CHUNK


async def ended(process: ChildProcess) -> ExitStatus:
    """Wait for the end of a child."""
    async with asyncio.timeout(PATIENCE):
        return await process.wait()


@pytest.fixture(params=["pidfd", "thread"])
def exit_watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch the child's end both ways: by pidfd, and as on a system without it."""
    if request.param == "thread":

        def refuse(pid: int) -> int:
            raise OSError(38, "not implemented")

        monkeypatch.setattr(os, "pidfd_open", refuse)


@pytest.mark.usefixtures("exit_watch")
async def test_output_and_code_arrive(child: Child) -> None:
    """Every line of both streams, the unfinished last one too, is there when wait returns, and so is the exit code."""
    code = "say('one'); sys.stderr.write('two\\n\\nlast words'); sys.exit(7)"
    async with await child.start(python(code)) as process:
        assert await ended(process) == ExitStatus(code=7)
        assert child.text("stdout") == [b"one"]
        assert child.text("stderr") == [b"two", b"", b"last words"]
        assert sorted(child.closed) == ["stderr", "stdout"]


@pytest.mark.usefixtures("exit_watch")
async def test_signal_is_told(child: Child) -> None:
    """A child that dies by a signal is reported with that signal, not with a code."""
    async with await child.start(python("os.kill(os.getpid(), signal.SIGKILL)")) as process:
        assert await ended(process) == ExitStatus(signal=signal.SIGKILL)


async def test_many_wait(child: Child) -> None:
    """Several waiters, early and late, all get the exit."""
    async with await child.start(python("sys.stdin.read()")) as process:
        async with asyncio.TaskGroup() as group:
            waiters = [group.create_task(process.wait(), name=f"waiter {number}") for number in range(3)]
        assert [waiter.result() for waiter in waiters] == [ExitStatus(code=0)] * 3
        assert await process.wait() == ExitStatus(code=0)


async def test_signals_after_the_end_do_nothing(child: Child) -> None:
    """Late orders are harmless: the pid may belong to another process by then."""
    async with await child.start(python("")) as process:
        await ended(process)
        process.terminate()
        process.kill()


async def test_own_session_and_group(child: Child) -> None:
    """The child leads its own session and group, so the terminal's Ctrl-C does not reach it."""
    async with await child.start(python("say(os.getsid(0), os.getpgid(0))")) as process:
        assert await child.line() == f"{process.pid} {process.pid}".encode()


async def test_terminate_asks_the_leader(child: Child) -> None:
    """SIGTERM reaches the child, which ends in its own way."""
    code = "signal.pthread_sigmask(0, [15]); say('ready'); signal.sigwait([15]); sys.exit(5)"
    async with await child.start(python(code)) as process:
        await child.line(b"ready")
        process.terminate()
        assert await ended(process) == ExitStatus(code=5)


async def test_terminate_wakes_a_stopped_child(child: Child) -> None:
    """A child that was stopped (SIGSTOP) still ends in its own way."""
    code = "signal.pthread_sigmask(0, [15]); say('ready'); signal.sigwait([15]); sys.exit(5)"
    async with await child.start(python(code)) as process:
        await child.line(b"ready")
        os.kill(process.pid, signal.SIGSTOP)
        process.terminate()
        assert await ended(process) == ExitStatus(code=5)


async def test_kill_ends_one_that_ignores_sigterm(child: Child) -> None:
    """A child that ignores SIGTERM lives on until SIGKILL ends it."""
    code = "signal.pthread_sigmask(0, [15]); say('ready')\nwhile signal.sigwait([15]): say('no')"
    async with await child.start(python(code)) as process:
        await child.line(b"ready")
        process.terminate()
        await child.line(b"no")
        assert process.exit is None
        process.kill()
        assert await ended(process) == ExitStatus(signal=signal.SIGKILL)


async def test_million_lines(child: Child) -> None:
    """A flood of a million lines is counted to the last one, in bounded memory."""
    code = "block = b'a line of ordinary length, as clients write them\\n' * 1000\nfor _ in range(1000): os.write(2, block)"
    count = 0

    def on_line(stream: str, line: bytes) -> None:
        nonlocal count
        count += 1

    before = psutil.Process().memory_info().rss
    async with await ChildProcess.spawn(python(code), on_line=on_line) as process:
        assert await ended(process) == ExitStatus(code=0)
        assert count == process.stats["stderr"].lines == 1_000_000
    assert psutil.Process().memory_info().rss - before < 16 * 1024 * 1024


async def test_ten_megabytes_without_newline(child: Child) -> None:
    """An endless line is cut once, marked, and costs no memory; the next line is whole again."""
    code = "for _ in range(160): os.write(1, b'x' * 65536)\nos.write(1, b'end\\nnext\\n')"
    before = psutil.Process().memory_info().rss
    async with await child.start(python(code)) as process:
        assert await ended(process) == ExitStatus(code=0)
        assert child.text("stdout") == [b"x" * LINE_LIMIT + CUT_MARKER.encode(), b"next"]
        assert process.stats["stdout"].cut == 1
    assert psutil.Process().memory_info().rss - before < 8 * 1024 * 1024


async def test_odd_bytes(child: Child) -> None:
    """NUL, invalid UTF-8 and escape sequences pass as they are."""
    async with await child.start(python(r"os.write(1, b'a\0b\xff\xfe\x1b[31m\r\n\n')")) as process:
        await ended(process)
        assert child.text("stdout") == [b"a\0b\xff\xfe\x1b[31m", b""]


async def test_closed_stream_is_no_end(child: Child) -> None:
    """A child that closes its stderr lives on and is reported once."""
    async with await child.start(python("os.close(2); say('on'); time.sleep(600)")) as process:
        await child.until(lambda: child.closed == ["stderr"])
        await child.line(b"on")
        assert process.exit is None
        assert process.stats["stderr"].closed
        process.kill()
        await ended(process)
        assert child.closed == ["stderr", "stdout"]


async def test_bad_consumer_does_not_stop_the_drain(child: Child) -> None:
    """The first exception of a consumer is handed over, once for both streams, and the pipes are read on."""

    def on_line(stream: str, line: bytes) -> None:
        raise ValueError("bug")

    errors: list[Exception] = []
    code = "block = b'line\\n' * 1000\nfor _ in range(100): os.write(1, block); os.write(2, b'x\\n')"
    async with await ChildProcess.spawn(python(code), on_line=on_line, on_error=errors.append) as process:
        assert await ended(process) == ExitStatus(code=0)
        assert (process.stats["stdout"].lines, process.stats["stderr"].lines) == (100_000, 100)
    assert [str(error) for error in errors] == ["bug"]


async def test_a_bad_consumer_is_never_silent(child: Child) -> None:
    """A consumer for whose errors nothing was provided has them handed to the event loop, once."""
    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
    error = ValueError("bug")

    def on_line(stream: str, line: bytes) -> None:
        raise error

    async with await ChildProcess.spawn(python("say('a'); say('b')"), on_line=on_line) as process:
        await ended(process)
    assert seen == [error]


GRANDCHILD = """
if os.fork() == 0:
    {leave}
    say('grandchild', os.getpid())
    os.close(1)
    time.sleep(600)
else:
    time.sleep(600) if 'stay' in sys.argv else sys.stdin.read()
    while not os.path.exists(sys.argv[1]): time.sleep(0.01)
"""


@pytest.mark.usefixtures("exit_watch")
@pytest.mark.parametrize("leave", ["pass", "os.setsid()", "os.setsid(); os.fork() and os._exit(0)"])
async def test_grandchild_with_the_pipe(child: Child, tmp_path: Path, leave: str, request: pytest.FixtureRequest) -> None:
    """A descendant that holds stderr delays nothing and is ended, in the group or outside of it."""
    if "thread" in request.node.name and leave != "pass":
        pytest.skip("a system without pidfd cannot name a stranger safely: only the group is killed there")
    go = tmp_path / "go"
    async with await child.start(python(GRANDCHILD.format(leave=leave), str(go))) as process:
        grandchild = int(await child.line(b"grandchild "))
        async with asyncio.TaskGroup() as group:
            group.create_task(gone(grandchild), name="end of the grandchild")
            go.touch()
            assert await ended(process) == ExitStatus(code=0)


async def test_kill_reaches_the_group(child: Child, tmp_path: Path) -> None:
    """SIGKILL ends the child together with what it started."""
    async with await child.start(python(GRANDCHILD.format(leave="pass"), str(tmp_path / "go"), "stay")) as process:
        grandchild = int(await child.line(b"grandchild "))
        process.kill()
        assert await ended(process) == ExitStatus(signal=signal.SIGKILL)
        await gone(grandchild)


async def test_loop_stays_free_during_a_flood(child: Child) -> None:
    """While a child floods, the event loop keeps serving others: a wakeup reads a bounded piece."""
    code = "block = b'line\\n' * 10000\nfor _ in range(200): os.write(1, block)"
    turns = 0
    async with await child.start(python(code)) as process:
        while process.exit is None:
            turns += 1
            await asyncio.sleep(0)
    assert turns > 100  # 10 MB in pieces of at most 64 KiB


async def test_a_flood_waits_in_its_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the consumer is behind, a flooding child is held up and nothing is taken; then it goes on, and no line is lost."""
    monkeypatch.setattr("prx.runtime.process.pipes.FLOOD_AFTER", 1)  # how far a child is ahead is for the machine to decide
    code = "block = b'line\\n' * 10000\nfor _ in range(200): os.write(1, block)"
    taken, behind, asked = 0, False, asyncio.Event()

    def on_block(stream: str, block: bytes) -> int:
        nonlocal taken, behind
        behind = behind or not taken
        while behind and queued(process) < CHUNK:  # the child fills its pipe meanwhile
            pass
        taken += block.count(b"\n")
        return block.count(b"\n")

    def is_behind() -> bool:
        asked.set()
        return behind

    def on_line(stream: str, line: bytes) -> None:
        nonlocal taken
        taken += 1

    async with await ChildProcess.spawn(python(code), on_line=on_line, on_block=on_block, is_behind=is_behind) as process:
        for _ in range(3):  # of a pause
            async with asyncio.timeout(PATIENCE):
                await asked.wait()
            asked.clear()
            before = taken
        assert before == taken < 2_000_000
        assert process.exit is None
        behind = False
        assert await ended(process) == ExitStatus(code=0)
        assert taken == process.stats["stdout"].lines == 2_000_000


def queued(process: ChildProcess) -> int:
    """Return how many bytes wait in the pipe that is a child's stdout."""
    count = array("i", [0])
    fcntl.ioctl(process._drains[0]._fd, termios.FIONREAD, count)
    return count[0]


async def test_launch_needs_a_reader_for_its_secret() -> None:
    """A secret that is not read, or a path that leads nowhere, is a mistake of the caller."""
    with pytest.raises(ValueError, match="need each other"):
        Launch(("cat",), {}, secret=b"s")
    with pytest.raises(ValueError, match="need each other"):
        Launch(("cat", "{secret-path}"), {})
