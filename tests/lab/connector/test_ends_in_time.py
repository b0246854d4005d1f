"""A connector ends when its grace period does, whatever would hold it up. The waits are endless: late is never."""

import asyncio
import os
import sys

import pytest
from tests.lab.connector.bench import BUILTIN_ONLY, HTTP2_ONLY, Bench
from tests.lab.connector.child import BUILTIN, Child, environment
from tests.lab.connector.http2_edge import Http2Edge
from tests.support.child import running
from tests.support.waits import PATIENCE

from prx.lab.protocol.h2.session import H2Session

pytestmark = [BUILTIN_ONLY]
QUIC_ONLY = pytest.mark.parametrize("protocol", ["quic"])

# What Python runs before the program: each line makes one thing wait forever.
_LOOK_UPS = """
import socket, threading
asked = socket.getaddrinfo
def look_up(host, *more, **named):
    if host == "hangs.invalid":
        print("looking up", flush=True)
        threading.Event().wait()
    return asked(host, *more, **named)
socket.getaddrinfo = look_up
"""
_INTERPRETER = "import atexit, threading; atexit.register(threading.Event().wait)"
_THREAD = "import threading; threading.Thread(target=threading.Event().wait).start()"


class Outspoken(Child):
    """A child whose stdout matters: `asked` is set at its first line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__(process)
        self.asked = asyncio.Event()

    def take(self, stream: str, line: bytes) -> None:
        """Note a line."""
        super().take(stream, line)
        if stream == "stdout":
            self.asked.set()


def with_first(bench: Bench, first: str) -> dict[str, str]:
    """Return an environment in which `first` runs before the connector does."""
    folder = bench.home / "first"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(first)
    paths = [str(folder), *[path for path in sys.path if path.endswith(("/src", "site-packages"))]]
    return environment(bench.home, PYTHONPATH=os.pathsep.join(paths))


@HTTP2_ONLY
@pytest.mark.parametrize("first", [_INTERPRETER, _THREAD], ids=["interpreter", "thread"])
async def test_nothing_of_the_interpreter_is_waited_for(bench: Bench, first: str) -> None:
    """What the interpreter would do at its end, and its threads, come after the end."""
    async with running([*BUILTIN, *bench.arguments()], Child, env=with_first(bench, first)) as child:
        await bench.up(child, 1)
        assert await child.stop() == 0
        assert "INF Metrics server stopped" in child.lines[-1]


@HTTP2_ONLY
async def test_a_look_up_that_hangs_is_not_waited_for(bench: Bench) -> None:
    """A request that waits for DNS is cut off, and the thread that asks DNS with it."""
    words = bench.arguments("--grace-period", "100ms", url="http://hangs.invalid:80")
    async with running([*BUILTIN, *words], Outspoken, env=with_first(bench, _LOOK_UPS)) as child:
        await bench.up(child, 1)
        async with asyncio.timeout(PATIENCE):
            await bench.edge.open("GET", "/", end=True)
            await child.asked.wait()
        assert await child.stop() == 0


@HTTP2_ONLY
async def test_an_edge_that_is_still_looked_up_is_given_up_at_once(bench: Bench) -> None:
    """A stop that comes before the edge is found ends the connector without a grace period: nothing is under way."""
    words = bench.arguments("--grace-period", "3m")
    words[words.index("--edge") + 1] = "hangs.invalid:7844"
    async with running([*BUILTIN, *words], Outspoken, env=with_first(bench, _LOOK_UPS)) as child:
        async with asyncio.timeout(PATIENCE):
            await child.asked.wait()
        assert await child.stop() == 0


@HTTP2_ONLY
async def test_a_failed_start_ends_too(bench: Bench) -> None:
    """An exit code other than 0 comes at once as well."""
    words = [*BUILTIN, *bench.arguments("--cacert", str(bench.home / "none.pem"))]
    async with running(words, Child, env=with_first(bench, _INTERPRETER)) as child:
        assert await child.exit_code() == 1


async def test_an_edge_that_takes_nothing_more(bench: Bench) -> None:
    """Requests of an edge that stopped reading are given up, those that have started to be answered and the others."""
    async with bench.started("--grace-period", "300ms") as child:
        await bench.up(child, 1)
        async with asyncio.timeout(PATIENCE):
            unread = await bench.edge.open("GET", f"/bytes/{64 << 20}", end=True)
            await unread.response()  # and none of the body, so that the window of the connection closes
            waiting = await bench.edge.open("GET", "/slow", end=True)
            await bench.origin.reached.wait()
        assert await child.stop() == 0
        unread.reset()
        waiting.reset()


@HTTP2_ONLY
async def test_an_edge_that_froze(bench: Bench) -> None:
    """An edge that neither reads nor closes is not waited for after the grace period."""
    assert isinstance(bench.edge, Http2Edge)
    async with bench.started("--grace-period", "100ms") as child:
        await bench.up(child, 1)
        session = bench.edge.connections[0].session
        assert isinstance(session, H2Session)
        session.stall()
        assert await child.stop() == 0
        session.resume()
