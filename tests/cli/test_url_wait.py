"""`prx url --wait` beside a prx that ends, and one that comes after it."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from tests.cli.home import PRX, Home, Started
from tests.support.waits import free_port


def waiting(home: Home, seconds: str) -> subprocess.Popen[str]:
    """Start `prx url --wait` with a prx that has no URL to give out, of which nothing is awaited here."""
    return subprocess.Popen(
        [*PRX, "url", "--wait", seconds], env=home.environ, cwd=home.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def without_url(home: Home) -> Started:
    """Start a prx whose URL is never verified: nothing answers at it."""
    url = f"http://127.0.0.1:{free_port()}"
    (home.folder / "prx.toml").write_text(f'[tunnel]\nbackend = "none"\npublic_url = "{url}"\n')
    prx = home.start()
    prx.wait_for("origin_down")
    return prx


def is_asked(home: Home) -> bool:
    """Return whether a command is connected to a control socket of this home (03: connected, proc(5))."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any(line[5] == "03" and line[-1].startswith(str(home.folder)) for line in lines)


def test_a_prx_that_ends_meanwhile_is_not_running(home: Home) -> None:
    """3, as before and behind its end, in words that name it; not 4, which says that waiting longer would have helped."""
    prx = without_url(home)
    command = waiting(home, "3")
    while not is_asked(home):
        time.sleep(0.02)  # no event tells that another process has connected
    prx.send(signal.SIGTERM)
    assert prx.end() == 0
    out, err = command.communicate(timeout=30)
    assert (command.returncode, out) == (3, "")
    assert f"prx (pid {prx.process.pid}) ended before it could answer" in err


def test_a_prx_that_comes_after_it_is_asked(home: Home) -> None:
    """A prx that is started again within the time (by systemd, by a person) is waited for as the first one was."""
    prx = without_url(home)
    command = waiting(home, "40")
    while not is_asked(home):
        time.sleep(0.02)
    prx.send(signal.SIGTERM)
    assert prx.end() == 0
    (home.folder / "prx.toml").unlink()
    url = home.start("--hello", "--lab").url()
    out, _ = command.communicate(timeout=60)
    assert (command.returncode, out) == (0, f"{url}\n")
