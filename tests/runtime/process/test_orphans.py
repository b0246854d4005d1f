"""Children of an earlier prx: ended when they are certainly ours, never touched otherwise."""

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.runtime.process.children import Child, python
from tests.support.waits import PATIENCE

from prx.core.exit_status import ExitStatus
from prx.runtime.process.child import ChildProcess
from prx.runtime.process.identity import Identity, identify
from prx.runtime.process.orphans import ChildLedger, reap_stale


@pytest.fixture
async def process(child: Child) -> AsyncIterator[ChildProcess]:
    """Run a child that says what it does about SIGTERM."""
    code = "signal.signal(15, signal.SIG_IGN if os.getenv('DEAF') else signal.SIG_DFL); say('ready'); time.sleep(600)"
    async with await child.start(python(code)) as running:
        await child.line(b"ready")
        yield running


async def test_stale_child_is_ended(process: ChildProcess, tmp_path: Path) -> None:
    """A child in the ledger is asked to end, reported, and the ledger is empty afterwards."""
    path = tmp_path / "children.json"
    assert ChildLedger(path).add(process.identity, "web")
    (stale,) = await reap_stale(path)
    assert (stale.identity, stale.label, stale.killed) == (process.identity, "web", False)
    assert await process.wait() == ExitStatus(signal=signal.SIGTERM)
    assert json.loads(path.read_text()) == {"children": []}
    assert await reap_stale(path) == []


async def test_deaf_child_and_its_group_are_killed(child: Child, tmp_path: Path) -> None:
    """A stale child that ignores SIGTERM is killed after the grace time."""
    code = "signal.signal(15, signal.SIG_IGN); say('ready'); time.sleep(600)"
    path = tmp_path / "children.json"
    async with await child.start(python(code)) as running:
        await child.line(b"ready")
        ChildLedger(path).add(running.identity, "web")
        (stale,) = await reap_stale(path, grace=0.1)
        assert stale.killed
        assert await running.wait() == ExitStatus(signal=signal.SIGKILL)


@pytest.mark.parametrize("change", ["start_time", "boot_id", "exe", "no boot_id"])
async def test_stranger_is_never_touched(process: ChildProcess, tmp_path: Path, change: str) -> None:
    """A pid that now belongs to another process, of this boot or another, gets no signal."""
    path = tmp_path / "children.json"
    real = process.identity
    stranger = {
        "start_time": dataclasses.replace(real, start_time=real.start_time + 1),
        "boot_id": dataclasses.replace(real, boot_id="another"),
        "exe": dataclasses.replace(real, exe="/bin/other"),
        "no boot_id": dataclasses.replace(real, boot_id=""),
    }
    ChildLedger(path).add(stranger[change], "web")
    assert await reap_stale(path) == []
    os.kill(process.pid, 0)
    assert process.exit is None


_REUSED = """
import asyncio, os, shutil, subprocess, sys
from pathlib import Path
from prx.runtime.process.identity import identify, running_file
from prx.runtime.process.orphans import ChildLedger, reap_stale

def sleeper():
    return subprocess.Popen(["sleep", "600"])

program = os.path.realpath(shutil.which("sleep"))
ours = sleeper()
known = identify(ours.pid, program)
ledger = Path(sys.argv[1])
ChildLedger(ledger).add(known, "web")
ours.kill()
ours.wait()
while True:
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(ours.pid - 1))
    stranger = sleeper()
    if identify(stranger.pid).start_time != known.start_time:
        break
    stranger.kill()  # within the same hundredth of a second nothing can tell them apart
    stranger.wait()
assert stranger.pid == ours.pid
while running_file(stranger.pid) != program:
    pass
print(asyncio.run(reap_stale(ledger)), stranger.poll())
stranger.kill()
"""


def test_a_pid_that_the_kernel_gave_again_is_never_touched(tmp_path: Path) -> None:
    """The same program under the same pid, started by another: no signal."""
    namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0 or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, and a namespace of pids")
    done = subprocess.run(
        [*namespace, sys.executable, "-c", _REUSED, str(tmp_path / "children.json")],
        text=True, capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[] None\n", "")


async def test_own_pid_is_never_touched(tmp_path: Path) -> None:
    """Prx does not end itself, whatever the ledger says."""
    path = tmp_path / "children.json"
    ChildLedger(path).add(identify(os.getpid()), "web")
    assert await reap_stale(path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"null",
        b'{"children": 3}',
        b'{"children": [3, {"pid": "1"}, {"pid": -1, "start_time": 1, "boot_id": "b", "exe": "", "tunnel": "t"}]}',
        b'{"children": [{"pid": 99999999999999999999, "start_time": 1, "boot_id": "b", "exe": "", "tunnel": "t"}]}',
        b"[" * 100_000,
    ],
)
async def test_garbage_names_nobody(tmp_path: Path, content: bytes) -> None:
    """A ledger that is not one is ignored."""
    path = tmp_path / "children.json"
    path.write_bytes(content)
    assert await reap_stale(path) == []


async def test_missing_and_symlink(process: ChildProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No ledger is normal; one behind a symbolic link is refused with a warning, and its target stays as it was."""
    assert await reap_stale(tmp_path / "none.json") == []
    assert not caplog.records
    real, link = tmp_path / "real.json", tmp_path / "children.json"
    ChildLedger(real).add(process.identity, "web")
    content = real.read_bytes()
    link.symlink_to(real)
    with caplog.at_level(logging.WARNING):
        assert await reap_stale(link) == []
    assert "is ignored" in caplog.text
    assert process.exit is None
    assert real.read_bytes() == content


def test_ledger_holds_the_living(tmp_path: Path) -> None:
    """The file always names exactly the children that were added and not removed."""
    path = tmp_path / "run" / "children.json"
    ledger = ChildLedger(path)
    one, two = Identity(11, 1, "boot", "/a"), Identity(12, 2, "boot", "/b")
    ledger.add(one, "web")
    ledger.add(two, "api")
    ledger.remove(one)
    ledger.remove(one)
    assert [entry["pid"] for entry in json.loads(path.read_text())["children"]] == [12]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
