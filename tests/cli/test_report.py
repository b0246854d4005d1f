"""`prx report`: what it prints of a real run, of nothing, and of what cannot be read."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal

import pytest
from tests.cli.home import Home


def test_a_real_run_is_reported_after_it_has_ended(home: Home) -> None:
    """A tunnel that was up, whose child was killed, and that was stopped: all of it is in the report, prx running or not."""
    prx = home.start("--hello", "--lab", "--json")
    events = [json.loads(prx.wait_for('"url_changed"'))]
    child = json.loads(prx.wait_for('"child_started"'))["pid"]
    os.kill(child, signal.SIGKILL)
    events.append(json.loads(prx.wait_for('"restart_scheduled"')))
    running = json.loads(home.run("report", "--json", "--since", "1h").stdout)
    prx.send(signal.SIGTERM)
    assert prx.end() == 0
    ended = json.loads(home.run("report", "--json", "--since", "1h", "--timeline").stdout)
    for answer in (running, ended):
        (tunnel,) = answer["tunnels"]
        assert tunnel["tunnel"] == "hello"
        assert tunnel["reachable_secs"] > 0
        assert "crashed" in [item["cause"] for item in tunnel["lost"]]
        assert tunnel["probes"]["count"] >= (1 if answer is ended else 0)
    timeline = ended["tunnels"][0]["timeline"]
    assert [item["cause"] for item in timeline][:2] == ["starting", ""]
    assert all(one["to"] == two["from"] for one, two in itertools.pairwise(timeline))
    text = home.run("report").stdout
    assert re.search(r"^hello  127\.0\.0\.1:\d+$", text, re.MULTILINE)
    assert re.search(r"^  (lost)? .*crashed: the connector ended by itself, at ", text, re.MULTILINE)


def test_nothing_is_known_where_nothing_ran(home: Home) -> None:
    """An empty history is said in words, and is no error."""
    done = home.run("report")
    assert done.returncode == 0
    assert "nothing is known of this time" in done.stdout
    assert json.loads(home.run("report", "--json").stdout)["tunnels"] == []


@pytest.mark.parametrize("span", ["", "yesterday", "-1d", "7x", "0s", "d", "1d-2h", "99999999d"])
def test_a_span_that_cannot_be_is_refused(home: Home, span: str) -> None:
    """What is no span of time is named with what is expected, exit code 2."""
    done = home.run("report", "--since", span)
    assert done.returncode == 2
    assert "expected a span of time such as 12h, 7d or 1d12h" in done.stderr


def test_an_unknown_tunnel_is_named_with_those_that_there_are(home: Home) -> None:
    """A name that the history does not have is an error that lists what it has."""
    done = home.run("report", "wbe")
    assert done.returncode == 1
    assert "no tunnel 'wbe'" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_history_is_kept_if_the_configuration_says_so(home: Home) -> None:
    """`keep_days = 0` writes nothing."""
    config = home.folder / "prx.toml"
    config.write_text("[history]\nkeep_days = 0\n")
    prx = home.start("--hello", "--lab", "-c", str(config))
    prx.url()
    prx.send(signal.SIGTERM)
    assert prx.end() == 0
    assert not list(home.folder.rglob("*.jsonl"))
