"""Memory is flat: whatever needs much of it once, prx gives it back; what its start needed as well, without a URL too."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.e2e.prx_process import PrxProcess, clean_environment, prx_start
from tests.support.origin import HostedOrigin

from prx.control.unixpath import address
from prx.lab import Lab

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports what belongs to no file")

MIB = 1024 * 1024
ROUNDS = 2
MAY_STAY = 4 * MIB  # of peaks of 8 to 250: prx returns from 2 on, and what is warm after them belongs to it
WITHIN = 90.0  # seconds; ten to twenty on an idle machine

SILENT = """#!/bin/sh
case "$*" in *--version*) echo "cloudflared version 2026.8.2 (built 2026)"; exit;; esac
exec sleep 3600
"""


def memory(pid: int) -> tuple[int, int]:
    """Return the resident bytes of a process, and those of them that belong to no file."""
    _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    page = os.sysconf("SC_PAGE_SIZE")
    return resident * page, (resident - shared) * page


@asynccontextmanager
async def watched(lab: Lab, folder: Path, port: int, connector: str = "builtin", more: str = "") -> AsyncIterator[PrxProcess]:
    """Run prx in a lab of another process; it checks the URL every second, so that its events are frequent."""
    config = folder / "prx.toml"
    config.write_text(
        f'[tunnel]\nhealth_check_interval_secs = 1\n{more}[tunnel.cloudflare]\ncloudflared_path = "{connector}"\n'
        'protocol = "http2"\ngrace_period_secs = 1\n'
    )
    config.chmod(0o600)
    arguments = (str(port), "-c", str(config), f"--lab={lab.control}")
    async with prx_start(*arguments, environ=clean_environment(folder), cwd=folder) as prx:
        yield prx
        assert await prx.stop() == 0


def write_log(prx: PrxProcess, text: bytes) -> None:
    """Write into the stderr of the connector, as fast as prx reads it."""
    child = [event["pid"] for event in prx.events if event["event"] == "child_started"][-1]
    with open(f"/proc/{child}/fd/2", "wb") as stderr:  # noqa: PTH123 - a pipe, not a file
        stderr.write(text)


def connect(prx: PrxProcess, sent: bytes) -> socket.socket:
    """Return a connection to the control socket of prx over which so much was sent."""
    (path,) = (Path(prx.environ["PRX_DATA_DIR"]) / "run").glob("*.sock")
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    with address(path) as short:
        connection.connect(short)
    connection.sendall(sent)
    return connection


def long_lines(prx: PrxProcess) -> None:
    """Write lines of 60 KB."""
    write_log(prx, (b"y" * 60_000 + b"\n") * 600)


def lines_beyond_ascii(prx: PrxProcess) -> None:
    """Write lines that take the long way, in blocks."""
    write_log(prx, ('{"message":"' + "ü" * 4000 + '"}\n').encode() * 3000)


def reader_that_reads_nothing(prx: PrxProcess) -> None:
    """Follow the events without reading, while the child writes lines of 30 KB."""
    with connect(prx, b'{"do":"events"}\n'):
        write_log(prx, (b'{"level":"info","message":"' + b"q" * 30_000 + b'"}\n') * 400)


def large_request(prx: PrxProcess) -> None:
    """Send a request of 20 MB that cannot be answered."""
    with suppress(OSError), connect(prx, b'{"do":"replay","x":"' + b"s" * 20_000_000 + b'"}\n') as one:
        assert one.recv(1)


PEAKS: tuple[Callable[[PrxProcess], None], ...] = (
    long_lines,
    lines_beyond_ascii,
    reader_that_reads_nothing,
    large_request,
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("peak", PEAKS, ids=lambda peak: peak.__name__)
async def test_memory_goes_back_after_peaks(
    lab: Lab, tmp_path: Path, origin: HostedOrigin, peak: Callable[[PrxProcess], None]
) -> None:
    """After each of several peaks of a kind, prx needs about what it did when its URL was shown."""
    async with watched(lab, tmp_path, origin.port) as prx:
        await prx.url()
        before = memory(prx.process.pid)[1]
        for _ in range(ROUNDS):
            await asyncio.to_thread(peak, prx)
            await reached(prx, lambda: memory(prx.process.pid)[1] <= before + MAY_STAY, f"return to {before // MIB} MiB")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["a client that says nothing", "a service that is away"])
async def test_a_start_whose_url_is_never_shown_gives_back_what_it_needed(
    lab: Lab, tmp_path: Path, origin: HostedOrigin, kind: str
) -> None:
    """It comes down to about what a prx has whose URL was shown, which has given that back."""
    shown, other = tmp_path / "shown", tmp_path / "other"
    shown.mkdir()
    other.mkdir()
    async with watched(lab, shown, origin.port) as prx:
        await prx.url()
        least = memory(prx.process.pid)[0]
        await reached(prx, lambda: memory(prx.process.pid)[0] < least - 3 * MIB, "return after the URL was shown")
        least = memory(prx.process.pid)[0]
    client = other / "cloudflared"
    client.write_text(SILENT)
    client.chmod(0o700)
    port, connector = (origin.port, str(client)) if kind == "a client that says nothing" else (9, "builtin")
    async with watched(lab, other, port, connector) as prx:
        await prx.event("child_started")
        await reached(prx, lambda: memory(prx.process.pid)[0] > least + 5 * MIB, "height of the start")
        await reached(prx, lambda: memory(prx.process.pid)[0] < least + 3 * MIB, f"return to {least // MIB} MiB")
        assert not [event for event in prx.events if event["event"] == "url_changed"]


async def reached(prx: PrxProcess, is_reached: Callable[[], bool], what: str) -> None:
    """Wait for what only the system reports of prx."""
    try:
        async with asyncio.timeout(WITHIN):
            while not is_reached():  # noqa: ASYNC110 - only the system reports it
                await asyncio.sleep(0.05)
    except TimeoutError:
        resident, own = (size // MIB for size in memory(prx.process.pid))
        raise AssertionError(f"no {what} within {WITHIN:.0f} s: {resident} MiB, {own} of no file\n{prx.story()}") from None
