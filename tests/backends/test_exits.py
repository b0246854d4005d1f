"""Ends that no transcript shows, and words that must not mislead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.backends.base import LogLine
from prx.backends.cloudflare.classify import parse_line
from prx.backends.cloudflare.exits import DETAIL_LIMIT, classify_exit, last_words
from prx.core.evidence import ChildExit, ExitCause
from prx.core.exit_status import ExitStatus


def tail(*lines: str) -> list[LogLine]:
    """Return lines of stderr, understood."""
    return [parse_line("stderr", line) for line in lines]


def end(code: int, *lines: str, age: float = 3.0) -> ChildExit:
    """Return the end with this code (negative: a signal) after these lines."""
    return classify_exit(ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code), tail(*lines), age=age)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (9, "out of memory, or another process killed it"),
        (11, "a fault inside the program"),
        (13, "its log was not read any more"),
    ],
)
def test_a_signal_is_a_crash_in_plain_words(number: int, words: str) -> None:
    """The number stays, and its likely meaning is said."""
    found = end(-number)
    assert (found.cause, found.signal, found.code) == (ExitCause.CRASH, number, None)
    assert found.words() == f"killed by signal {number}: {words}"


def test_it_updated_itself() -> None:
    """Code 11 asks for a start at once."""
    assert end(11).cause is ExitCause.UPDATED


@pytest.mark.parametrize(
    ("code", "line", "helps"),
    [
        (1, "Failed to read token file: open /dev/fd/5: too many open files", "ulimit -n"),
        (1, "Error opening metrics server listener: listen tcp 127.0.0.1:0: socket: too many open files", "ulimit -n"),
        (2, "fatal error: failed to reserve page summary memory", "ulimit -v"),
        (2, "runtime: failed to create new OS thread (have 7 already; errno=11)", "ulimit -u"),
        (255, "open /etc/resolv.conf: cannot allocate memory", "ulimit -v"),
        (126, "./wrapper.sh: fork: retry: Resource temporarily unavailable", "ulimit -u"),
    ],
)
def test_what_the_machine_refuses_is_no_mistake_in_the_settings(code: int, line: str, helps: str) -> None:
    """Lack of descriptors, memory or processes is a crash whatever it prevented: never permanent, and what helps is said."""
    found = end(code, line)
    assert found.cause is ExitCause.CRASH
    assert line in found.detail
    assert helps in found.hint


def test_a_lost_exit_status_is_a_crash() -> None:
    """If another part collected the status, nothing is claimed."""
    found = classify_exit(ExitStatus(), [], age=1.0)
    assert (found.cause, found.code, found.signal) == (ExitCause.CRASH, None, None)


def test_an_orderly_end_that_nobody_asked_for() -> None:
    """Code 0 shows whether another process asked it to stop or it just ended."""
    stop = "2026-11-22T17:08:56Z INF Initiating graceful shutdown due to signal terminated ..."
    assert end(0, stop).detail == "another process asked it to stop"
    assert end(0, age=61.4).detail == "it ended by itself after 61 s, without an error"
    assert end(0, stop).cause is end(0).cause is ExitCause.CRASH


def test_usage_text_counts_even_when_its_first_line_is_lost() -> None:
    """A short memory of lines may hold the end of the usage text only."""
    lines = [parse_line("stdout", "   --help, -h  show help")]
    assert classify_exit(ExitStatus(code=0), lines, age=1.0).cause is ExitCause.CONFIG


def test_a_panic_is_quoted_not_its_stack() -> None:
    """Of a crash dump the first line counts."""
    found = end(
        2, "panic: runtime error: invalid memory address", "", "goroutine 1 [running]:", "main.main()", "\t/x.go:1 +0x2"
    )
    assert (found.cause, found.detail) == (ExitCause.CRASH, "panic: runtime error: invalid memory address")


def test_unauthorized_at_the_first_registration() -> None:
    """Where the client gives up at once because of its token, a restart would not help."""
    lines = (
        '{"level":"error","message":"initial tunnel connection failed","error":"Unauthorized: Invalid tunnel secret"}',
        "Unauthorized: Invalid tunnel secret",
    )
    assert end(1, *lines).cause is ExitCause.AUTH
    assert "Invalid tunnel secret" in end(1, *lines).detail


def test_a_start_that_fails_for_want_of_a_network_may_be_tried_again() -> None:
    """A look-up that fails is no wrong configuration."""
    text = "edge discovery: lookup _v2-origintunneld._tcp.argotunnel.com on 192.0.2.53:53: no such host"
    found = end(1, f'{{"level":"error","message":"Couldn\'t start tunnel","error":"{text}"}}', text)
    assert (found.cause, found.detail) == (ExitCause.NETWORK, text)


@pytest.mark.parametrize(
    "words",
    [
        "Provided Tunnel token is not valid",
        "429 Too Many Requests rate limit",
        "address already in use",
        "unknown protocol h3,",
    ],
)
def test_a_visitors_words_decide_nothing(words: str) -> None:
    """What stands in lines about requests comes from strangers, who must not be able to stop a tunnel."""
    lines = (
        f'{{"level":"debug","message":"GET /{words} HTTP/1.1","connIndex":0}}',
        f'{{"level":"error","error":"Unable to reach the origin service: /{words}","originService":"x"}}',
        f'{{"level":"error","message":"Request failed","error":"{words}","dest":"/{words}"}}',
    )
    assert end(1, *lines).cause is ExitCause.CRASH


def test_unknown_words_are_kept_short() -> None:
    """An unknown last line is the detail, on one line and bounded; without any there is still a sentence."""
    assert end(7, "something new\tand odd").detail == "something new and odd"
    assert len(end(7, "x" * 5000).detail) == DETAIL_LIMIT
    assert end(7).detail == "it said nothing"
    assert end(255).cause is ExitCause.CONFIG


def test_last_words_prefer_what_the_process_says_of_itself() -> None:
    """A bare line beats a logged error, and noise is never quoted."""
    error = '{"level":"error","message":"Serve tunnel error","error":"connection with edge closed"}'
    noise = '{"level":"error","message":"no more connections active and exiting"}'
    assert last_words(tail(error, noise)) == "Serve tunnel error: connection with edge closed"
    assert last_words(tail(error, noise, "bare words")) == "bare words"
    assert last_words([]) == ""


@given(st.integers(-64, 255), st.lists(st.text(max_size=60), max_size=8), st.floats(0, 1e9))
def test_any_end_is_explained(code: int, lines: list[str], age: float) -> None:
    """No exit and no last lines are without a cause and a short detail."""
    status = ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code)
    found = classify_exit(status, [parse_line("stderr", line) for line in lines], age=age)
    assert found.cause is not ExitCause.STOPPED
    assert len(found.detail) <= DETAIL_LIMIT
    assert "\n" not in found.detail


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        (127, ["/usr/local/bin/cloudflared: 3: /opt/cf: not found"]),
        (127, ["env: 'node': No such file or directory"]),
        (127, ["cloudflared: error while loading shared libraries: libc.so: cannot open shared object file"]),
        (127, []),
        (126, ["setpriv: failed to execute /usr/bin/cloudflared: Operation not permitted"]),
        (126, ["./wrapper.sh: line 2: /opt/cloudflared: Permission denied"]),
        (126, ["No version is set for command cloudflared", "Consider adding one of the following versions"]),
    ],
)
def test_a_wrapper_that_cannot_run_the_client(code: int, lines: list[str]) -> None:
    """126 and 127 of whatever stands in front of cloudflared is no crash: trying again cannot help, and its words are shown."""
    found = end(code, *lines)
    assert (found.cause, found.code) == (ExitCause.CONFIG, code)
    assert "by hand" in found.hint
    assert not lines or lines[-1] in found.detail


@pytest.mark.parametrize(
    "line",
    [
        "setpriv: failed to execute /usr/bin/cloudflared: Text file busy",
        "sh: 1: Cannot fork",
        "./wrapper.sh: fork: retry: Resource temporarily unavailable",
        "sh: /opt/cloudflared: Cannot allocate memory",
        "env: 'cloudflared': Too many open files in system",
        "sh: /mnt/cloudflared: Stale file handle",
    ],
)
@pytest.mark.parametrize("code", [126, 127])
def test_a_wrapper_that_cannot_for_now(code: int, line: str) -> None:
    """What passes by itself (a file that is just being written, a machine short of something) is tried again."""
    assert end(code, line).cause is ExitCause.CRASH


def test_a_client_that_has_logged_is_no_wrapper() -> None:
    """Where cloudflared has started, an odd code of what stands in front of it is a crash like any other."""
    line = '{"level":"info","time":"2026-11-22T17:08:56Z","message":"Initial protocol quic"}'
    assert end(127, line).cause is ExitCause.CRASH
