"""`prx start` and the lab: one of its own that other commands find, or one that runs already."""

from __future__ import annotations

import json

import pytest
from tests.cli.home import Home
from tests.cli.test_lab import running, words
from tests.support.visitor import request


def test_the_lab_inside_can_be_steered(home: Home) -> None:
    """`prx lab status` and `prx lab fault` find the lab inside `prx start --lab`, which says where it is; gone with it."""
    started = home.start("--hello", "--lab")
    url = started.url()
    name = url.removeprefix("http://").partition(":")[0]
    assert words(home, "status").startswith(f"{name} (quick): #0 at lab0")
    assert json.loads(words(home, "status", "--json"))["control"] in started.wait_for("the lab answers")
    assert json.loads(words(home, "fault", "refuse", "for", "10s"))["for_seconds"] == 10
    words(home, "fault", "drop", "all")
    assert home.run("stop").returncode == 0
    assert started.end() == 0
    assert home.run("lab", "status").returncode == 1


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_running_lab_can_be_joined(home: Home, how: str) -> None:
    """With `--lab=URL`, or `--lab` and PRX_LAB_CONTROL, the tunnel comes up in a lab that runs, and leaves it running."""
    with running(home) as (facts, _):
        if how == "option":
            started = home.start("--hello", f"--lab={facts['control']}")
        else:
            started = home.start("--hello", "--lab", PRX_LAB_CONTROL=facts["control"])
        url = started.url()
        assert url.endswith(facts["public"].rpartition(":")[2])
        assert b"prx" in request("GET", url).content
        assert words(home, "status", "--control", facts["control"]).startswith(url.removeprefix("http://").partition(":")[0])
        assert home.run("stop").returncode == 0
        assert started.end() == 0
        assert words(home, "status", "--control", facts["control"]).endswith("(quick): no connection")


def test_a_named_tunnel_joins(home: Home) -> None:
    """A named tunnel gets its token of the lab that it joins; the one in its configuration is not needed."""
    config = home.folder / "prx.toml"
    config.write_text('[tunnel.cloudflare]\nmode = "named"\nhostname = "agent.example.com"\n')
    config.chmod(0o600)
    with running(home) as (facts, _):
        started = home.start("--hello", "-c", str(config), f"--lab={facts['control']}")
        assert started.url().startswith("http://agent.example.com.localhost:")
        assert words(home, "status", "--control", facts["control"]).startswith("agent.example.com.localhost (named): #0")
        home.run("stop")
        assert started.end() == 0


def test_detached_into_a_running_lab(home: Home) -> None:
    """The one in the background joins the same lab."""
    with running(home) as (facts, _):
        done = home.run("start", "--hello", f"--lab={facts['control']}", "--detach", within=60)
        assert done.returncode == 0, done.stderr
        assert b"prx" in request("GET", done.stdout.strip()).content
        assert len(json.loads(words(home, "status", "--json", "--control", facts["control"]))["tunnels"]) == 1
        assert home.run("stop").returncode == 0


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        ("http://127.0.0.1:9", 1, "no lab answers at http://127.0.0.1:9"),
        ("nonsense", 2, "expected a lab's control URL"),
        ("https://127.0.0.1:1", 2, "expected a lab's control URL"),
        ("", 0, ""),
    ],
)
def test_a_lab_that_is_none(home: Home, url: str, code: int, told: str) -> None:
    """A URL behind which no lab is ends the start with words, not with a traceback; an empty one is none."""
    done = home.run("start", "--hello", f"--lab={url}", "--ttl", "1s", within=40)
    assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr


def test_the_variable_alone_changes_nothing(home: Home) -> None:
    """PRX_LAB_CONTROL, set for `prx lab …`, does not lead a tunnel into the lab that was meant for the Internet."""
    with running(home) as (facts, _):
        done = home.run("start", "--hello", PRX_LAB_CONTROL=facts["control"])
        assert done.returncode == 3, "there is no cloudflared here, and the lab is not asked for"
        assert not json.loads(words(home, "status", "--json", "--control", facts["control"]))["tunnels"]
