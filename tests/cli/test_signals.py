"""Every signal that prx may get, sent to a real one: what asks for an end drains, what means nothing changes nothing."""

from __future__ import annotations

import signal
import sys

import psutil
import pytest
from tests.cli.home import PRX, Home, Started
from tests.client.program import running
from tests.support.visitor import request

from prx.core.exit_status import signal_name
from prx.core.signal_table import BY_NUMBER, ENDING, Meaning

NOTHING = sorted(number for number, entry in BY_NUMBER.items() if entry.meaning is Meaning.NOTHING)
LIMITS = sorted(number for number, entry in BY_NUMBER.items() if entry.meaning is Meaning.LIMIT)
# Becomes the rest of its arguments, with a timer running that sends its signal again and again. The times are of the processor;
# the first is longer than the interpreter takes until prx has a say.
WITH_TIMER = """
import os, signal, sys
signal.setitimer(getattr(signal, sys.argv[1]), 0.25, 0.05)
os.execv(sys.argv[2], sys.argv[2:])
"""


def started(home: Home) -> Started:
    """Start the hello page on the local edge, and wait until it is public."""
    prx = home.start("--hello", "--lab")
    prx.wait_for("public at")
    return prx


@pytest.mark.parametrize("number", sorted({*ENDING} - {signal.SIGINT, signal.SIGTERM}), ids=lambda number: str(int(number)))
def test_what_asks_for_an_end_drains(home: Home, number: int) -> None:
    """SIGQUIT, and a limit of time, processor time or power, end prx as SIGTERM does: children too, exit code 0."""
    prx = started(home)
    children = psutil.Process(prx.process.pid).children(recursive=True)
    assert children
    prx.send(number)
    assert prx.end() == 0, prx.talk
    assert prx.talk[-1] == "stopped"
    assert "Traceback" not in "\n".join(prx.talk)
    assert not any(child.is_running() for child in children)
    assert any(f"{signal_name(number)}: " in line for line in prx.talk) is (number in LIMITS)


def test_what_means_nothing_changes_nothing(home: Home) -> None:
    """Signals of log rotators, of a launcher's timers and files, and real-time ones are said once, and the tunnel goes on."""
    prx = started(home)
    children = psutil.Process(prx.process.pid).children(recursive=True)
    for number in NOTHING:
        prx.send(number)
        prx.wait_for(f"{signal_name(number)} changes nothing")
        prx.send(number)
    assert "served by prx" in request("GET", prx.url()).text
    assert psutil.Process(prx.process.pid).children(recursive=True) == children
    assert sum("SIGUSR1 changes nothing: prx opens its log file again" in line for line in prx.talk) == 1
    prx.send(signal.SIGTERM)
    assert prx.end() == 0
    assert sum("changes nothing" in line for line in prx.talk) == len(NOTHING)


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM])
def test_a_second_one_ends_it_at_once(home: Home, unused_port: int, number: int) -> None:
    """A limit may be repeated, and is not the first of two; of SIGQUIT and SIGTERM the second one ends everything: 128 + n."""
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    prx = home.start(str(unused_port), "--lab", "--", sys.executable, "-c", script)
    prx.wait_for("service | up")
    for _ in range(3):
        prx.send(signal.SIGXCPU)
    prx.wait_for("SIGXCPU: prx has used the processor time")
    prx.send(number)
    assert home.run("status").returncode == 1  # it is stopping: it takes its time, and the next one is no twin of the last
    prx.send(signal.SIGXCPU)
    prx.send(number)
    assert prx.end() == 128 + number


@pytest.mark.parametrize("timer", ["ITIMER_PROF", "ITIMER_VIRTUAL"])
def test_a_timer_that_the_launcher_left(home: Home, timer: str) -> None:
    """An interval timer outlives exec: that of a launcher that was being profiled ends neither prx nor its start."""
    argv = [sys.executable, "-c", WITH_TIMER, timer, *PRX, "start", "--hello", "--lab"]
    with running(argv, env=home.environ, cwd=home.folder) as program:
        for words in ("changes nothing: it comes from a timer", "public at"):
            while not any(words in line for line in program.lines):
                program.line()
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0, program.story()
