"""What a launcher did to its own signals outlives exec: prx and its children receive theirs all the same."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.cli.home import PRX, Home
from tests.client.program import running

# blocks the signals that are named, ignores those with a minus, and becomes the rest of its arguments
LAUNCHER = """
import os, signal, sys
for word in sys.argv[1].split():
    if word.startswith("-"):
        signal.signal(int(word[1:]), signal.SIG_IGN)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, [int(word)])
os.execv(sys.argv[2], sys.argv[2:])
"""
EVERY = " ".join(str(int(number)) for number in signal.valid_signals() if number not in {signal.SIGKILL, signal.SIGSTOP})


@pytest.mark.parametrize("done", ["15", "2 15", EVERY, f"-{int(signal.SIGCHLD)}", "-15 15"])
def test_a_launcher_that_blocked_signals(home: Home, done: str) -> None:
    """SIGTERM ends prx and its connector at once and cleanly, and neither of them has a signal blocked."""
    argv = [sys.executable, "-c", LAUNCHER, done, *PRX, "start", "--hello", "--lab", "--json"]
    with running(argv, env=home.environ, cwd=home.folder) as program:
        pids = [program.process.pid]
        while (event := json.loads("{" + program.line("{")))["event"] != "url_changed":
            if "pid" in event:
                pids.append(event["pid"])
        assert len(pids) > 1
        assert {_blocked(pid) for pid in pids} == {0}
        assert not any(_ignored(pid) & 1 << signal.SIGCHLD - 1 for pid in pids)
        os.kill(program.process.pid, signal.SIGTERM)
        assert program.end() == 0


@pytest.mark.parametrize("code", [7, 255])
def test_a_launcher_that_ignored_the_end_of_children(home: Home, code: int) -> None:
    """With SIGCHLD ignored the kernel would keep no exit code: the verdict names the code of the connector all the same."""
    program_file = home.folder / "cloudflared"
    program_file.write_text(
        f'#!/bin/sh\n[ "$1" = "--version" ] && echo "cloudflared version 2026.8.2" && exit 0\nexit {code}\n'
    )
    program_file.chmod(0o755)
    config = home.folder / "prx.toml"
    config.write_text(f'[tunnel.cloudflare]\ncloudflared_path = "{program_file}"\n')
    argv = [sys.executable, "-c", LAUNCHER, f"-{int(signal.SIGCHLD)}", *PRX, "start", "--json", "-c", str(config)]
    with running(argv, env=home.environ, cwd=home.folder) as program:
        while (event := json.loads("{" + program.line("{")))["event"] != "child_exited":
            pass
        assert event["code"] == code


def _blocked(pid: int) -> int:
    return _field(pid, "SigBlk")


def _ignored(pid: int) -> int:
    return _field(pid, "SigIgn")


def _field(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1], 16)
