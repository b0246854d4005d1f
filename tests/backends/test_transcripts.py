"""Real output of cloudflared 2026.8.2, line by line: every transcript parses, and what is made of it is pinned.

`tests/data/cloudflared-2026.8.2.golden.json` holds, for each transcript, how many lines of each kind it has, its story (what
happened, in order) and its end. After a deliberate change, `python tests/backends/test_transcripts.py` renews it; read the
difference before you commit it. The tests below the golden one say what must hold whatever stands there.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from prx.backends.base import LineKind, LogLine
from prx.backends.cloudflare.classify import parse_line
from prx.backends.cloudflare.exits import classify_exit
from prx.core.evidence import ChildExit, ExitCause
from prx.core.exit_status import ExitStatus

DATA = Path(__file__).parents[1] / "data"
FOLDER = DATA / "cloudflared-2026.8.2"
GOLDEN = DATA / "cloudflared-2026.8.2.golden.json"
NAMES = sorted(path.name for path in FOLDER.glob("*.log"))
QUIET = {LineKind.NOISE, LineKind.OTHER, LineKind.PRECHECK, LineKind.USAGE}
_ROW = re.compile(r"\s*(?P<at>[0-9.]+) (?P<stream>[EO#]) ?(?P<line>.*)")


@dataclass(frozen=True)
class Transcript:
    """One run of the real client: its lines, understood, and how it ended."""

    lines: list[LogLine]
    code: int | None
    age: float

    @classmethod
    def read(cls, name: str) -> Transcript:
        lines, code, age = [], None, 0.0
        for row in (FOLDER / name).read_text(encoding="utf-8").splitlines():
            if (match := _ROW.fullmatch(row)) is None:
                continue
            if match["stream"] != "#":
                lines.append(parse_line({"E": "stderr", "O": "stdout"}[match["stream"]], match["line"]))
            elif end := re.fullmatch(r"exit code (-?\d+)", match["line"]):
                code, age = int(end[1]), float(match["at"])
        return cls(lines, code, age)

    @property
    def end(self) -> ChildExit:
        assert self.code is not None
        end = ExitStatus(code=self.code) if self.code >= 0 else ExitStatus(signal=-self.code)
        return classify_exit(end, self.lines[-200:], age=self.age)

    def story(self) -> Iterator[str]:
        told = (_told(line) for line in self.lines if line.kind not in QUIET)
        for words, group in groupby(told):
            count = len(list(group))
            yield f"{words} ×{count}" if count > 1 else words

    def of(self, kind: LineKind) -> list[LogLine]:
        return [line for line in self.lines if line.kind is kind]

    def digest(self) -> dict[str, Any]:
        counts = Counter(line.kind.value for line in self.lines)
        end = self.end
        return {
            "kinds": dict(sorted(counts.items())),
            "story": list(self.story()),
            "end": [self.code, end.cause.value, end.detail],
        }


def _told(line: LogLine) -> str:
    return " ".join(filter(None, (line.kind.value, "" if line.connection is None else str(line.connection), line.protocol)))


def both(name: str) -> list[Transcript]:
    """Return a scenario in both log formats."""
    return [Transcript.read(f"{name}.{form}.log") for form in ("console", "json")]


@pytest.mark.parametrize("name", NAMES)
def test_each_transcript_is_understood_as_before(name: str) -> None:
    """No change of a table changes the meaning of a known line or end unnoticed."""
    assert Transcript.read(name).digest() == json.loads(GOLDEN.read_text(encoding="utf-8"))[name]


def test_the_golden_file_knows_every_transcript() -> None:
    """A transcript that is added is pinned too."""
    assert sorted(json.loads(GOLDEN.read_text(encoding="utf-8"))) == NAMES
    assert len(NAMES) > 150


@pytest.mark.parametrize("name", sorted({name.rsplit(".", 2)[0] for name in NAMES if name.endswith(".json.log")}))
def test_both_formats_end_alike(name: str) -> None:
    """The log format changes nothing about why the process is said to have ended."""
    console, in_json = both(name)
    assert (console.end.cause, console.code) == (in_json.end.cause, in_json.code)
    if console.code:  # the transcripts of some orderly stops are cut
        assert re.sub(r"\d+", "N", console.end.detail) == re.sub(r"\d+", "N", in_json.end.detail)


@pytest.mark.parametrize(("name", "protocol"), [("startup_named_http2", "http2"), ("startup_named_quic", "quic")])
def test_a_named_start_registers_four_connections(name: str, protocol: str) -> None:
    """Index, location and protocol of each connection come out of both formats alike."""
    for transcript in both(name):
        registered = transcript.of(LineKind.REGISTERED)
        assert [line.connection for line in registered] == [0, 1, 2, 3]
        assert {line.protocol for line in registered} == {protocol}
        assert [line.location for line in registered] == ["spike01", "spike02", "spike03", "spike04"]
        assert sorted(line.connection or 0 for line in transcript.of(LineKind.UNREGISTERED)) == [0, 1, 2, 3]
        assert [line.protocol for line in transcript.of(LineKind.PROTOCOL)] == [protocol]


def test_a_quick_start_names_its_url_and_nothing_else() -> None:
    """The URL comes from the box; the terms of use, with their own https address, are noise."""
    for name in ("startup_quick_http2", "startup_quick_default_protocol"):
        for transcript in both(name):
            urls = [line.fields["url"] for line in transcript.of(LineKind.QUICK_URL)]
            assert len(urls) == 1
            assert re.fullmatch(r"https://[a-z-]+\.trycloudflare\.com", urls[0])


def test_a_lost_connection_is_told_with_its_index_then_registered_again() -> None:
    """One connection of four goes and comes back: the story names that one only."""
    for name in ("lost_one_http2", "lost_one_quic"):
        for transcript in both(name):
            story = [
                (line.kind, line.connection)
                for line in transcript.lines
                if line.kind in (LineKind.REGISTERED, LineKind.LOST, LineKind.SHUTDOWN)
            ]
            before_stop = story[: next(n for n, (kind, _) in enumerate(story) if kind is LineKind.SHUTDOWN)]
            assert before_stop[:4] == [(LineKind.REGISTERED, index) for index in range(4)]
            assert {index for kind, index in before_stop if kind is LineKind.LOST} == {1}
            assert before_stop[-1] == (LineKind.REGISTERED, 1)


@pytest.mark.parametrize(
    ("name", "protocol", "least"), [("edge_unreachable_quic", "quic", 5), ("edge_unreachable_http2", "http2", 4)]
)
def test_each_failed_dial_is_counted_once(name: str, protocol: str, least: int) -> None:
    """A failed dial and its echo are two lines and one failure, and say which transport failed."""
    for transcript in both(name):
        failed = transcript.of(LineKind.DIAL_FAILED)
        assert {line.protocol for line in failed} == {protocol}
        assert len(failed) >= least
        assert len(failed) == len(transcript.of(LineKind.RETRYING))
        assert not transcript.of(LineKind.REGISTERED)


def test_unauthorized_is_told_apart_from_other_rejections() -> None:
    """Only a rejected token is `unauthorized`; a rejected registration and a duplicate are their own kinds."""
    for transcript in both("reject_unauthorized"):
        assert transcript.of(LineKind.UNAUTHORIZED)
        assert not transcript.of(LineKind.REJECTED)
    for transcript in both("reject_permanent_first"):
        assert transcript.of(LineKind.REJECTED)[0].error == "tunnel is gone"
    for transcript in both("reject_dupconn"):
        assert transcript.of(LineKind.DUPLICATE)
        assert not transcript.of(LineKind.REJECTED)


def test_a_quic_rejection_leaves_no_cause_in_the_log() -> None:
    """What the log cannot tell is not invented: over QUIC the counters are the only source."""
    transcript = Transcript.read("reject_permanent_first_quic.console.log")
    assert not transcript.of(LineKind.REJECTED)
    assert transcript.of(LineKind.SERVE_ERROR)


def test_a_refusing_origin_is_the_origins_fault() -> None:
    """The line with an empty message is understood, in both formats and on both transports."""
    for name in ("origin_refused_http2", "origin_refused_quic"):
        for transcript in both(name):
            errors = transcript.of(LineKind.ORIGIN_ERROR)
            assert any("connection refused" in line.error for line in errors)
            assert all(line.level == "error" for line in errors)


@pytest.mark.parametrize("name", ["term_idle_http2", "term_idle_quic", "startup_named_http2"])
def test_an_orderly_stop_frightens_nobody(name: str) -> None:
    """The client logs errors at each orderly stop: all of them are known as noise, but the transport's own end."""
    for transcript in both(name):
        alarming = [line for line in transcript.lines if line.level in ("warn", "error")]
        assert {line.kind for line in alarming} <= {LineKind.LOST, LineKind.SERVE_ERROR, LineKind.NOISE}


def test_a_pushed_configuration_is_seen() -> None:
    """A push carries its version; a bad one is an error that is not hidden."""
    for transcript in both("config_update_http2"):
        versions = [line.fields["version"] for line in transcript.of(LineKind.CONFIG_PUSHED)]
        assert versions == sorted(versions)
        assert versions[0] == 1
        assert any(
            line.message == "Failed to deserialize new configuration" and line.level == "error" for line in transcript.lines
        )


def test_the_preliminary_checks_are_recognised_in_box_and_lines() -> None:
    """Every row of the table and every structured line is `precheck`."""
    for transcript in both("precheck_udp_blocked"):
        rows = transcript.of(LineKind.PRECHECK)
        assert any(line.message == "precheck complete" for line in rows)
        assert sum(line.message == "precheck" and line.fields["status"] == "fail" for line in rows) >= 4
        assert any("SUMMARY" in line.message for line in rows)


@pytest.mark.parametrize(
    ("name", "cause", "words"),
    [
        ("token_garbage", ExitCause.AUTH, "rejects the tunnel token"),
        ("token_empty", ExitCause.AUTH, "empty tunnel token"),
        ("token_file_missing", ExitCause.CONFIG, "cannot read the tunnel token"),
        ("metrics_port_in_use", ExitCause.PORT_TAKEN, "metrics port is taken"),
        ("quick_429_text", ExitCause.RATE_LIMITED, "429"),
        ("quick_429", ExitCause.RATE_LIMITED, "does not say why"),
        ("quick_500_html", ExitCause.CRASH, "answered 500"),
        ("quick_200_badid", ExitCause.CRASH, "no tunnel"),
        ("quick_refused", ExitCause.CRASH, "refuses connections"),
        ("quick_timeout", ExitCause.CRASH, "does not answer"),
        ("bad_cacert", ExitCause.CONFIG, "/nonexistent"),
        ("bad_protocol", ExitCause.CONFIG, "protocol h3"),
        ("bad_ipversion", ExitCause.CONFIG, "edge-ip-version: 5"),
        ("bad_grace", ExitCause.CONFIG, "grace-period"),
        ("bad_origin_url", ExitCause.CONFIG, "origin URL"),
        ("bad_edge_addr", ExitCause.CONFIG, "edge address"),
        ("reject_permanent_first", ExitCause.CRASH, "tunnel is gone"),
        ("reject_retryable_first", ExitCause.CRASH, "try again later"),
        ("accept_then_close", ExitCause.CRASH, "connection with edge closed"),
        ("term_twice_http2", ExitCause.CRASH, "another process stopped it"),
    ],
)
def test_why_it_ended(name: str, cause: ExitCause, words: str) -> None:
    """Each end that cloudflared itself causes has the right cause and says it in few words."""
    for transcript in both(name):
        assert transcript.end.cause is cause
        assert words in transcript.end.detail


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("flag_after_run_", "bad_flag", "bad_duration"))])
def test_usage_text_with_code_0_is_a_wrong_command_line(name: str) -> None:
    """Exit code 0 hides a refused command line: the usage text on stdout gives it away, and its flag is named."""
    transcript = Transcript.read(name)
    if name == "flag_after_run_protocol.console.log":  # the one flag that stands on both sides
        assert transcript.end.cause is ExitCause.CRASH
        return
    assert transcript.code == 0
    assert transcript.end.cause is ExitCause.CONFIG
    assert re.search(r"-(edge|grace-period|loglevel|metrics|no-autoupdate|no-prechecks|output|bogus)", transcript.end.detail)


if __name__ == "__main__":
    digests = {name: Transcript.read(name).digest() for name in NAMES}
    GOLDEN.write_text(json.dumps(digests, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
