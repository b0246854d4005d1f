"""A whole prx on a file system that fills up and empties, and on a machine whose root cannot be written to."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.e2e.prx_process import PRX, PrxProcess, clean_environment, started
from tests.support.namespaces import NEEDS_MOUNTS
from tests.support.origin import HostedOrigin

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nsenter") is None, reason="needs nsenter"),
    NEEDS_MOUNTS,
]


@asynccontextmanager
async def prx_on_tmpfs(folder: Path, port: int, size: str, *more: str) -> AsyncIterator[PrxProcess]:
    """Run prx with its data folder on a tmpfs of its own, of this size; `more` are commands of the shell before it starts."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    mount = f"mount --make-rprivate / && mount -t tmpfs -o size={size},mode=0700 none {data}"
    script = " && ".join([mount, *more, f"exec {PRX} start --json --lab {port}"])
    argv = ["unshare", "--mount", "sh", "-c", script]
    async with started(argv, environ=clean_environment(folder), cwd=folder) as prx:
        yield prx
    assert "Traceback" not in "".join(prx.lines)


async def inside(prx: PrxProcess, *command: str) -> str:
    """Run a command where prx sees its files; return what it writes."""
    process = await asyncio.create_subprocess_exec(
        "nsenter", "--mount", f"--target={prx.process.pid}", "--", *command, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode()


async def test_a_disk_that_fills_and_empties(tmp_path: Path, origin: HostedOrigin) -> None:
    """On a full disk the tunnel stays, a dead child is replaced, prx answers; with room again the list of children is true."""
    data = tmp_path / "data"
    async with prx_on_tmpfs(tmp_path, origin.port, "2m") as prx:
        await prx.url()
        await inside(prx, "sh", "-c", f"cat /dev/zero > {data}/fill 2> /dev/null; echo full")
        first = await prx.event("child_started")
        os.kill(first["pid"], signal.SIGKILL)
        second = await prx.event("child_started", after=first["seq"])
        await prx.event("url_changed", after=second["seq"])
        asked = await inside(prx, "env", f"PRX_DATA_DIR={data}", PRX, "status", "--json")
        assert json.loads(asked)["tunnels"][0]["connectors"][0]["pid"] == second["pid"]
        await inside(prx, "rm", f"{data}/fill")
        async with asyncio.timeout(20):
            while True:
                (ledger,) = (await inside(prx, "sh", "-c", f"cat {data}/run/*.children.json")).splitlines() or ["{}"]
                if str(second["pid"]) in ledger and str(first["pid"]) not in ledger:
                    break
        assert await prx.stop() == 0


async def test_a_root_that_cannot_be_written_to(tmp_path: Path, origin: HostedOrigin) -> None:
    """In a container with a read-only root a writable data folder is enough."""
    async with prx_on_tmpfs(tmp_path, origin.port, "8m", "mount -o remount,bind,ro /", "! touch /refused 2> /dev/null") as prx:
        await prx.url()
        assert await prx.stop() == 0


def _disk(folder: Path) -> str:
    """Make an ext4 in a file, and return the commands that mount it as the data folder; skip if that cannot be."""
    image, data = folder / "disk", folder / "data"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    data.mkdir(mode=0o700)
    mount = f"mount --make-rprivate / && mount -o loop,errors=remount-ro {image} {data} && chmod 700 {data}"
    for command in (["mkfs.ext4", "-qF", str(image)], ["unshare", "--mount", "sh", "-c", mount]):
        if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("needs mkfs.ext4 and loop devices")
    return mount


async def test_a_file_system_that_becomes_read_only(tmp_path: Path, origin: HostedOrigin) -> None:
    """When the kernel finds ext4 damaged and makes it read-only, the tunnel stays, and what cannot be written is in words."""
    data = tmp_path / "data"
    argv = ["unshare", "--mount", "sh", "-c", f"{_disk(tmp_path)} && exec {PRX} start --json --lab {origin.port}"]
    async with started(argv, environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
        await prx.url()
        find = f"/sys/fs/ext4/$(basename $(findmnt -no SOURCE {data}))/trigger_fs_error"
        damaged = await inside(prx, "sh", "-c", f"echo test > {find}; touch {data}/x 2> /dev/null || echo refused")
        assert damaged == "refused\n"
        child = await prx.event("child_started")
        os.kill(child["pid"], signal.SIGKILL)
        await prx.event("child_exited")
        await prx.first(lambda event: "Read-only file system" in event.get("message", ""), "word about the log")
        assert json.loads(await inside(prx, "env", f"PRX_DATA_DIR={data}", PRX, "status", "--json"))["tunnels"]
        assert await prx.stop() == 0
    assert "Traceback" not in "".join(prx.lines)


@pytest.mark.parametrize("inodes", [2, 3, 4, 6, 8, 10, 12])
async def test_a_disk_that_is_full_at_the_start(tmp_path: Path, inodes: int) -> None:
    """Whatever has no room first, prx ends with 1, which systemd answers with another start, and says what helps."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    mount = f"mount --make-rprivate / && mount -t tmpfs -o size=2m,nr_inodes={inodes},mode=0700 none {data}"
    process = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "sh", "-c", f"{mount} && exec {PRX} start --hello --lab --catch",
        env=clean_environment(tmp_path), cwd=tmp_path, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    assert process.returncode == 1, said.decode()
    assert "no space left on device" in said.decode().lower()
    assert "hint: make room" in said.decode()
