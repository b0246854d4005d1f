"""A control group with a real limit: the kernel kills the connector, and prx says why and goes on."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.prx_process import clean_environment, prx_start

LIMIT = 500_000_000  # bytes: enough for prx, its lab and a shell, and far less than the child takes

# It waits for a signal, then takes all memory that it can get.
GREEDY = """#!/bin/sh
case "$*" in *--version*) echo "cloudflared version 2026.8.2 (built 2026)"; exit;; esac
while [ ! -e "{go}" ]; do sleep 0.1; done
mv "{go}" "{gone}"
exec "{python}" -S -E -c "bytearray(2000000000)"
"""


@pytest.fixture
def limited() -> Iterator[Path]:
    """Yield the file that takes a process into a control group with a limit of memory, of either version."""
    one, two = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root, limit = (one, "memory.limit_in_bytes") if one.is_dir() else (two, "memory.max")
    group = root / f"prx-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no control group can be made here")
    try:
        try:
            (group / limit).write_text(str(LIMIT))
        except OSError:
            pytest.skip("no limit of memory can be set here")
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


@pytest.mark.slow
async def test_a_child_that_is_killed_for_want_of_memory_is_told_so(tmp_path: Path, limited: Path) -> None:
    """The end of the child says "out of memory" with what to do, prx lives on, and another child is started."""
    greedy = tmp_path / "cloudflared"
    greedy.write_text(GREEDY.format(python=sys.executable, go=tmp_path / "go", gone=tmp_path / "gone"))
    greedy.chmod(0o700)
    (tmp_path / "prx.toml").write_text(f'[tunnel.cloudflare]\ncloudflared_path = "{greedy}"\ngrace_period_secs = 1\n')
    async with prx_start("--lab", environ=clean_environment(tmp_path), cwd=tmp_path) as prx:
        limited.write_text(str(prx.process.pid))
        first = await prx.event("child_started")
        limited.write_text(str(first["pid"]))  # if it was started before prx was moved
        (tmp_path / "go").touch()
        end = await prx.event("child_exited")
        assert (end["signal"], end["detail"]) == (9, "out of memory: the kernel killed it")
        await prx.event("child_started", after=first["seq"])
        assert await prx.stop() == 0
