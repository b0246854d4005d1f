"""The hosts of the fleet test: network namespaces. The fleet itself takes longer than a test may: `make fleet`."""

from __future__ import annotations

import asyncio
import sys

import pytest
from bench.room.namespace import command_prefix
from tests.deploy.files import ROOT

pytestmark = pytest.mark.skipif(not command_prefix(), reason="needs network namespaces: root, or user namespaces")

HOSTS = """
import asyncio, socket
from bench.room.host import prepare_here, running_host

ASK = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 1); print(s.recv(9))"

async def ask(host, port):
    process = await asyncio.create_subprocess_exec(*host.inside, "python3", "-c", ASK, str(port), stdout=-1, stderr=-1)
    out, _ = await process.communicate()
    return process.returncode, out

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
    """A host reaches the lab's ports on 127.0.0.1 over its cable, no other port, and nothing while it is cut off."""
    await run(*command_prefix(), sys.executable, "-c", HOSTS)
