"""Measure what the lab and a connector cost: the same load straight on an origin, and through the tunnel, in one run.

    python bench/lab/run.py [--seconds 3] [--clients 16] [--megabytes 64] [--protocol http2]

The connector is the program that PRX_TEST_CLOUDFLARED names, else the builtin one. Origin, lab, connector and load are four
processes on one machine, so what is printed is a ratio to compare with earlier runs on the same machine, and no promise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
NAME = "bench.localhost"


@contextmanager
def child(*words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program for the length of a block."""
    with subprocess.Popen(words, text=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


async def request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> int:
    """GET and read the whole answer; gives the size of its body."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"unexpected answer: {head[:80]!r}")
    size = left = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    while left:
        left -= len(await reader.read(min(left, 1 << 18)))
    return size


async def small(port: int, clients: int, seconds: float) -> float:
    """Give small requests per second, `clients` of them at once, each on one connection."""
    end = time.perf_counter() + seconds

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 18)
        count = 0
        while time.perf_counter() < end:
            await request(reader, writer, "/")
            count += 1
        writer.close()
        return count

    return sum(await asyncio.gather(*(one() for _ in range(clients)))) / seconds


async def large(port: int, megabytes: int) -> float:
    """Give the MB per second of one download."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 18)
    began = time.perf_counter()
    size = await request(reader, writer, f"/{megabytes * 1_000_000}")
    writer.close()
    return size / 1_000_000 / (time.perf_counter() - began)


async def until_served(port: int) -> None:
    """Wait until the tunnel answers."""
    async with asyncio.timeout(30):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                await request(reader, writer, "/")
                writer.close()
                return
            except (RuntimeError, OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.1)


async def measure(port: int, options: argparse.Namespace) -> tuple[float, float]:
    """Give requests per second, then MB per second, warmed up."""
    await small(port, options.clients, 0.5)
    return await small(port, options.clients, options.seconds), await large(port, options.megabytes)


def connector(facts: dict[str, Any], folder: Path, origin: int, protocol: str) -> list[str]:
    """Give the command line of a connector."""
    real = os.environ.get("PRX_TEST_CLOUDFLARED", "")
    program = [real] if real else [sys.executable, "-m", "prx.connector"]
    config = folder / "config.yml"
    config.write_text("{}")
    edges = [word for address in facts["edge"] for word in ("--edge", address)]
    common = ["--no-autoupdate", "--no-prechecks", "--config", str(config), "--cacert", facts["ca"], "--protocol", protocol]
    token = ["run", "--token-file", str(folder / "token"), "--url", f"http://127.0.0.1:{origin}"]
    return [*program, "tunnel", *edges, *common, "--metrics", "127.0.0.1:0", *token]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--protocol", choices=("http2", "quic"), default="http2")
    options = parser.parse_args()
    prx = [sys.executable, "-m", "prx.cli"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        environ = {**os.environ, "PRX_DATA_DIR": str(folder / "data")}
        origin = stack.enter_context(child(sys.executable, str(HERE / "origin.py"), stdout=subprocess.PIPE))
        lab = stack.enter_context(child(*prx, "lab", "--json", stdout=subprocess.PIPE, env=environ))
        assert origin.stdout is not None
        assert lab.stdout is not None
        port = int(origin.stdout.readline())
        facts = json.loads(lab.stdout.readline())
        token = subprocess.run(
            [*prx, "lab", "token", "--hostname", NAME], env=environ, text=True, capture_output=True, check=True
        )
        (folder / "token").write_text(token.stdout)
        command = connector(facts, folder, port, options.protocol)
        stack.enter_context(child(*command, stderr=subprocess.DEVNULL))
        public = int(facts["public"].rpartition(":")[2])
        asyncio.run(until_served(public))
        alone = asyncio.run(measure(port, options))
        through = asyncio.run(measure(public, options))
    report(alone, through, Path(command[0]).name if "-m" not in command[:2] else "builtin", options.protocol)


def report(alone: tuple[float, float], through: tuple[float, float], program: str, protocol: str) -> None:
    """Print the table."""
    print(f"{'':12}{'origin alone':>15}{'through':>15}{'ratio':>9}   ({program}, {protocol})")
    for unit, index in (("requests/s", 0), ("MB/s", 1)):
        ratio = through[index] / alone[index]
        print(f"{unit:12}{alone[index]:15.0f}{through[index]:15.0f}{ratio:9.3f}")


if __name__ == "__main__":
    main()
