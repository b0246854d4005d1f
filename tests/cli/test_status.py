"""`prx status NAME`: one tunnel of those that run."""

from __future__ import annotations

import json
import os
import signal

import pytest
from tests.cli.home import Home, Started
from tests.support.waits import free_port


@pytest.fixture
def two(home: Home) -> Started:
    """Return a prx with two tunnels: `web`, which is up, and `api`, which was stopped."""
    ports = free_port(), free_port()
    (home.folder / "prx.toml").write_text(
        "".join(
            f'[tunnels.{name}]\nlocal_addr = "127.0.0.1:{port}"\n' for name, port in zip(("web", "api"), ports, strict=True)
        )
    )
    started = home.start("--lab")
    started.wait_for("web: origin_down")
    assert home.run("stop", "api").returncode == 0
    return started


def names_of(home: Home, *arguments: str) -> tuple[int, list[str]]:
    """Return the exit code of `prx status --json` and the tunnels that it names."""
    done = home.run("status", "--json", *arguments)
    return done.returncode, [tunnel["name"] for tunnel in json.loads(done.stdout)["tunnels"]]


def test_a_name_chooses_one(home: Home, two: Started) -> None:
    """A name or a local address shows that tunnel alone, and the exit code is about it; without one all are meant."""
    web = json.loads(home.run("status", "--json").stdout)["tunnels"][0]["local_addr"]
    assert names_of(home) == (1, ["web", "api"])
    for chosen, found in (
        ("web", (0, ["web"])),
        ("api", (1, ["api"])),
        (web, (0, ["web"])),
        (web.partition(":")[2], (0, ["web"])),
    ):
        assert names_of(home, chosen) == found
    assert not any(line.startswith("api ") for line in home.run("status", "web").stdout.splitlines())
    assert two.process.poll() is None


@pytest.mark.slow
def test_an_unknown_name_is_refused(home: Home, two: Started) -> None:
    """Exit code 2 with the names that there are; while a prx does not answer, which may have that name, it is unknown: 4."""
    wrong = home.run("status", "wbe")
    assert wrong.returncode == 2
    assert "no tunnel is called 'wbe'; running:\n  web (" in wrong.stderr
    (home.folder / "other.toml").write_text('[tunnel]\nbackend = "none"\npublic_url = "http://127.0.0.1:9"\n')
    other = home.start("-c", "other.toml", "--json")
    other.wait_for("state_changed")
    os.kill(other.process.pid, signal.SIGSTOP)
    try:
        assert home.run("status", "wbe", within=30).returncode == 4
        assert home.run("status", "web", within=30).returncode == 0
    finally:
        os.kill(other.process.pid, signal.SIGCONT)
    assert two.process.poll() is None
