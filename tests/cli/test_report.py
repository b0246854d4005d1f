"""`prx report`: what it prints of a real run, of nothing, and of what cannot be read."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from typing import Any

import pytest
from tests.cli.home import Home

from prx.control.unixpath import listen
from prx.history.segments import day_of
from prx.runtime.host.clock import SystemClock


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
    assert done.returncode == 2
    assert "no tunnel is called 'wbe'; in the history of this time: none" in done.stderr
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


@pytest.mark.parametrize("asked", [(), ("web",), ("127.0.0.1:8080",), ("8080",)])
def test_a_clock_that_was_set_back_is_told_of_one_tunnel_as_of_all(home: Home, asked: tuple[str, ...]) -> None:
    """What is left out because it lies ahead is said whatever the report is asked for."""
    now = SystemClock().wall()
    records: list[dict[str, Any]] = [
        {"at": now - 60, "event": "prx_started", "tunnels": {"web": "127.0.0.1:8080"}},
        {"at": now - 50, "event": "verdict_changed", "tunnel": "web", "new": "healthy"},
        {"at": now - 50, "event": "state_changed", "tunnel": "web", "new": "ready"},
        {"at": now - 20, "event": "alive"},
        {"at": now + 7200, "event": "alive"},
    ]
    folder = home.folder / "data" / "history"
    folder.mkdir(parents=True)
    (folder / f"web.{day_of(now)}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "the clock was set back" in home.run("report", *asked).stdout


@pytest.mark.parametrize("words", [("-n", "2"), ("-n", "2", "web"), ("-n", "2", "--all"), ("-n", "2", "--level", "warn")])
def test_the_newest_lines_are_last_after_the_clock_was_set_back(home: Home, words: tuple[str, ...]) -> None:
    """`prx logs` shows what was written last, however it is asked, not the hours that the clock has taken back."""
    written = [("14:00", "first"), ("14:01", "second"), ("12:01", "third"), ("12:02", "fourth")]
    lines = [
        json.dumps({"at": f"2026-11-29T{at}:00.000Z", "tunnel": "web", "level": "warn", "message": text, "source": "prx"})
        for at, text in written
    ]
    folder = home.folder / "data" / "logs"
    folder.mkdir(parents=True)
    (folder / "web.log").write_text("\n".join(lines) + "\n")
    shown = home.run("logs", *words).stdout.splitlines()
    assert [line.split()[-1] for line in shown] == ["third", "fourth"]


@pytest.mark.parametrize(("state", "watched"), [("killed", 60.0), ("lives", 160.0), ("unknown", 160.0)])
def test_a_prx_that_was_killed_a_moment_ago_is_not_taken_for_healthy(home: Home, state: str, watched: float) -> None:
    """No process listens on its control socket: what it saw last holds until its last sign of life, not for 150 s more."""
    now = SystemClock().wall()
    records: list[dict[str, Any]] = [
        {"at": now - 160, "event": "prx_started", "tunnels": {"web": "127.0.0.1:8080"}},
        {"at": now - 160, "event": "state_changed", "tunnel": "web", "new": "ready"},
        {"at": now - 160, "event": "verdict_changed", "tunnel": "web", "new": "healthy"},
        {"at": now - 100, "event": "alive"},
    ]
    folder, run = home.folder / "data" / "history", home.folder / "data" / "run"
    folder.mkdir(parents=True)
    run.mkdir(mode=0o700)
    (folder / f"web.{day_of(now - 160)}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    listening = None if state == "unknown" else listen(run / "web.sock")
    if listening is not None:
        listening.listen() if state == "lives" else listening.close()
    (tunnel,) = json.loads(home.run("report", "--json", "--since", "1h").stdout)["tunnels"]
    if listening is not None:
        listening.close()  # harmless when it is closed
    assert tunnel["reachable_secs"] == pytest.approx(watched, abs=20)
