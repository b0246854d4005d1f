"""The hosts of the fleet test: network namespaces. The fleet itself takes longer than a test may: `make fleet`."""

from __future__ import annotations

import asyncio
import sys

import pytest
from bench.room.namespace import command_prefix
from tests.deploy.files import ROOT

pytestmark = pytest.mark.skipif(not command_prefix(), reason="needs network namespaces: root, or user namespaces")

HOSTS = """
import asyncio, errno
from bench.room.host import prepare_here, running_host
from prx.lab.protocol.keepalive import probe_when_silent

ASK = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 1); print(s.recv(9))"

async def ask(host, port):
    process = await asyncio.create_subprocess_exec(*host.inside, "python3", "-c", ASK, str(port), stdout=-1, stderr=-1)
    out, _ = await process.communicate()
    return process.returncode, out

async def notices(host):
    ended = asyncio.Event()
    async def hold(reader, writer):
        probe_when_silent(writer.get_extra_info("socket"), idle=1, every=1, gone_after=1)
        writer.write(b"lab")
        await host.cut()
        try:
            await reader.read()
        except OSError as error:
            assert error.errno == errno.ETIMEDOUT, error
        ended.set()
    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await host.lead(port)
        words = "import socket, sys, time; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"
        process = await asyncio.create_subprocess_exec(*host.inside, "python3", "-c", words, str(port))
        async with asyncio.timeout(20):
            await ended.wait()
        process.kill()
        await process.wait()

async def main():
    await prepare_here()
    async def greet(reader, writer):
        writer.write(b"lab")
        writer.close()
    lab, own = [await asyncio.start_server(greet, "127.0.0.1", 0) for _ in range(2)]
    async with lab, own:
        reached, hidden = (server.sockets[0].getsockname()[1] for server in (lab, own))
        async with running_host(1) as host:
            await host.connect([reached])
            assert await ask(host, reached) == (0, b"b'lab'\\n"), "the lab is reached"
            assert (await ask(host, hidden))[0], "nothing else of this machine is"
            await host.cut()
            assert (await ask(host, reached))[0], "cut off"
            await host.mend()
            assert await ask(host, reached) == (0, b"b'lab'\\n"), "back again"
            await notices(host)

asyncio.run(main())
"""


async def run(*words: str) -> str:
    """Run a program in namespaces of its own; return what it said."""
    process = await asyncio.create_subprocess_exec(
        *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_a_host_reaches_the_lab_alone() -> None:
    """A host reaches the lab's ports on 127.0.0.1 over its cable, no other port, and nothing while it is cut off.

    Who probes a connection notices that the host at its other end is cut off, as the lab's edge and the builtin connector do.
    """
    await run(*command_prefix(), sys.executable, "-c", HOSTS)
