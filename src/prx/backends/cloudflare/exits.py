"""Determine why cloudflared ended, from its exit status and its last lines.

Theory of operation. A signal is a crash. Code 0 without our asking is either a command line that it could not read — usage
text on stdout, code 0 — or a stop that another process asked for. Code 255 is a token or an argument whose content is wrong.
Codes 126 and 127 are not cloudflared's: a shell, env(1) or setpriv(1) in front of it says with them that a program cannot
be run, or is not there (POSIX, 2.8.2 of the shell language).
Code 1 is everything that happens later, and its texts decide, in the order of the table `_CAUSES`. Its last words are a bare
line of text in either log format. Codes and texts were observed with cloudflared 2026.8.2; code 11 (it has updated itself)
is documented by it; the words of other versions are from its published source.

A network that does not work is no crash: a name that does not resolve, an address that does not answer, start checks that
find the edge out of reach (they may end the process since 2026.5.2). All of it is `NETWORK`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from prx.backends.base import LineKind, LogLine
from prx.core.evidence import ChildExit, ExitCause
from prx.core.exit_status import ExitStatus
from prx.core.shortage import lack_in

DETAIL_LIMIT: Final = 200  # characters

_SIGNALS: Final = {
    1: "its terminal or session was closed",
    2: "another process stopped it",
    3: "another process asked it for a dump of its state",
    6: "it aborted itself",
    9: "out of memory, or another process killed it",
    11: "a fault inside the program",
    13: "its log was not read any more",
    15: "another process stopped it",
    31: "a system call that this system forbids",
}

_WRAPPER_HINT: Final = "run it by hand to see why: what cloudflared_path names, or what it calls, cannot be started"
_NOT_RUN: Final = {126: "the program cannot be run", 127: "a program is not there"}
_RENEW_HINT: Final = "take the token again from the Cloudflare dashboard (Networking › Tunnels, your tunnel)"
_PORT_HINT: Final = "set metrics_port = 0, so that a free port is found, or end the program that holds it"
_REPORT_HINT: Final = "this looks like a mistake in prx or a version of cloudflared that it does not know: run `prx doctor`"
_LIMIT_HINT: Final = "the quick-tunnel service limits how often one address may ask: a named tunnel has no such limit"
_OTHER_NETWORK_HINT: Final = "try another network, or use a named tunnel: it does not ask this service"
# Go's words for a network, or a resolver, that does not work. A refused connection is an answer, but not
# if it comes from a resolver.
_NO_NETWORK: Final = (
    r"(?:no such host|server misbehaving|no route to host|network is (?:unreachable|down)|host is (?:unreachable|down)"
    r"|lookup [^\n]*(?:refused|time-?out|no answer|cannot unmarshal)|\bdial (?:tcp|udp)\b[^\n]*time-?out|TLS handshake timeout"
    r"|connection (?:reset|timed out)|broken pipe|unexpected EOF|: EOF\b"
    r"|can(?:'t|not) assign requested address)"
)
_UNREACHABLE: Final = re.compile(rf"(?i){_NO_NETWORK}")
_CHECKS: Final = ("DNS Resolution", "UDP Connectivity", "TCP Connectivity")
_QUICK: Final = r"quick[ -]?tunnel"
_STATUS: Final = r"(?<![:.\w-]){0}(?![.\w-])"  # a number that is no port and no part of an address


def classify_exit(end: ExitStatus, tail: Sequence[LogLine], *, age: float) -> ChildExit:
    """Return the cause of an end that prx did not ask for. `age` is in seconds; `tail` may hold any number of lines."""
    if end.signal is not None:
        return _of_signal(end.signal, tail)
    if end.code is None:
        return _exit(end, ExitCause.CRASH, "it is gone, and its exit status is not known")
    if end.code == 11:
        return _exit(end, ExitCause.UPDATED, "it has replaced itself with a newer version")
    usage = next((line.message for line in tail if line.message.startswith("Incorrect Usage")), "")
    if usage or (end.code == 0 and any(line.kind is LineKind.USAGE for line in tail)):
        words = usage.removeprefix("Incorrect Usage").lstrip(":. ") or "it printed its usage text"
        return _exit(end, ExitCause.CONFIG, f"cloudflared does not understand its command line: {words}", _REPORT_HINT)
    if end.code == 0:
        return _exit(end, ExitCause.CRASH, _orderly(tail, age))
    if end.code in _NOT_RUN and all(line.fields.get("bare") for line in tail):  # it never began to log
        return _of_wrapper(end, tail)
    return _of_words(end, tail)


def last_words(tail: Sequence[LogLine]) -> str:
    """Return what it said last about its end: the panic of a crash dump, a bare line, an error; empty when it said nothing."""
    for choose in (_panic, _bare, _complaint):
        if found := choose(tail):
            return found
    return ""


def _panic(tail: Sequence[LogLine]) -> str:
    starts = ("panic: ", "fatal error: ", "SIGQUIT: ")
    return next((line.message for line in tail if line.message.startswith(starts)), "")


def _bare(tail: Iterable[LogLine]) -> str:
    kinds = (LineKind.FATAL, LineKind.QUICK_FAILED, LineKind.TUNNEL_GONE, LineKind.OTHER)
    bare = [line.message for line in tail if line.fields.get("bare") and line.kind in kinds and line.message.strip()]
    if not bare:
        return ""
    # a parser's list of complaints is indented under its title
    return f"{bare[-2]} {bare[-1].strip()}" if bare[-1].startswith(" ") and len(bare) > 1 else bare[-1]


def _complaint(tail: Sequence[LogLine]) -> str:
    errors = (line for line in reversed(tail) if line.level == "error" and line.kind is not LineKind.NOISE)
    return next((f"{line.message}: {line.error}".strip(": ") for line in errors), "")


def _of_signal(number: int, tail: Sequence[LogLine]) -> ChildExit:
    detail = _panic(tail) or _SIGNALS.get(number, "") or last_words(tail)
    return ChildExit(None, number, ExitCause.CRASH, _short(detail))


def _orderly(tail: Sequence[LogLine], age: float) -> str:
    if any(line.message.startswith("Initiating graceful shutdown") for line in tail):
        return "another process asked it to stop"
    return f"it ended by itself after {age:.0f} s, without an error"


def _of_wrapper(end: ExitStatus, tail: Sequence[LogLine]) -> ChildExit:
    """Judge what stands in front of the client and could not run it."""
    words = last_words(tail)
    if lack := lack_in(words):
        return _exit(end, ExitCause.CRASH, words, lack.hint)
    what = _NOT_RUN[end.code or 0]
    return _exit(end, ExitCause.CONFIG, f"{what}: {words}" if words else what, _WRAPPER_HINT)


def _of_words(end: ExitStatus, tail: Sequence[LogLine]) -> ChildExit:
    """Judge an exit code other than 0 by what was said."""
    said = "\n".join(f"{line.message} {line.error} {line.fields.get('status_code', '')}" for line in tail if _is_own(line))
    words = last_words(tail)
    own = last_words([line for line in tail if _is_own(line)])
    if lack := lack_in(own):
        return _exit(end, ExitCause.CRASH, own, lack.hint)
    for pattern, cause, detail, hint in _CAUSES:
        if match := re.search(pattern, said):
            return _exit(end, cause, detail.format(*match.groups(), words=words), hint)
    if checks := _failed_checks(tail):
        return _exit(end, ExitCause.NETWORK, f"its start checks found the edge out of reach: {checks}")
    if end.code == 1 and not _panic(tail) and _UNREACHABLE.search(own):
        return _exit(end, ExitCause.NETWORK, words)
    start_failed = any(line.message == "Couldn't start tunnel" for line in tail)
    if end.code == 255 or start_failed:
        return _exit(end, ExitCause.CONFIG, words or "it ended at once, without a word")
    if any(line.message == "initial tunnel connection failed" for line in tail):
        return replace(_exit(end, ExitCause.CRASH, f"the edge did not accept its first connection: {words}"), refused=True)
    return _exit(end, ExitCause.CRASH, words or "it said nothing")


def _is_own(line: LogLine) -> bool:
    """Return whether a line is about the process itself, so that no visitor's text can stand in it."""
    if line.fields.get("bare") or line.kind in (LineKind.FATAL, LineKind.QUICK_FAILED, LineKind.TUNNEL_GONE):
        return True
    return line.kind is LineKind.OTHER and line.level == "error"


def _failed_checks(tail: Sequence[LogLine]) -> str:
    """Return what its start checks found that rules out any tunnel; empty if there is nothing, or no check was made."""
    final = [line for line in tail if line.message == "precheck complete" or "SUMMARY: " in line.message]
    if not any(
        str(line.fields.get("hard_fail")).lower() in ("true", "1") or "critical failures" in line.message for line in final
    ):
        return ""
    failed = {found for line in tail for found in _CHECKS if _check_failed(line, found)}
    if "DNS Resolution" in failed:
        return "the edge's names do not resolve"
    return "UDP and TCP to the edge's port 7844 are both blocked"


def _check_failed(line: LogLine, component: str) -> bool:
    if line.message == "precheck":
        return line.fields.get("component") == component and line.fields.get("status") == "fail"
    return line.message.startswith(f"|  {component}  ") and "  FAIL  " in line.message


def _exit(end: ExitStatus, cause: ExitCause, detail: str, hint: str = "") -> ChildExit:
    return ChildExit(end.code, None, cause, _short(detail), hint)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= DETAIL_LIMIT else text[: DETAIL_LIMIT - 1] + "…"


def _cause(pattern: str, cause: ExitCause, detail: str = "{words}", hint: str = "") -> tuple[str, ExitCause, str, str]:
    return pattern, cause, detail, hint


# The first text that is found decides. {words}: its last words; {0}, {1}: groups of the pattern, which is compiled at the first
# exit: all of them would cost each start some milliseconds.
_CAUSES: Final = (
    _cause(
        r"Provided Tunnel token is not valid", ExitCause.AUTH, "cloudflared rejects the tunnel token as malformed", _RENEW_HINT
    ),
    _cause(r"requires the ID or name of the tunnel", ExitCause.AUTH, "cloudflared got an empty tunnel token", _RENEW_HINT),
    _cause(r"Failed to read token file: open (\S+): (.+)", ExitCause.CONFIG, "cloudflared cannot read the tunnel token: {1}"),
    _cause(
        r"failed to bind to address \(([^)]+)\).*address already in use",
        ExitCause.PORT_TAKEN,
        "its metrics port is taken by another program: {0}",
        _PORT_HINT,
    ),
    _cause(r"Error opening metrics server listener", ExitCause.CONFIG, "{words}", _PORT_HINT),
    _cause(
        rf"(?i){_QUICK}[^\n]*(?:{_STATUS.format(429)}|error code: 1015|\[1015\]|rate.?limit|too many requests)",
        ExitCause.RATE_LIMITED,
        "the quick-tunnel service says that too many tunnels were asked for (429)",
        _LIMIT_HINT,
    ),
    # A filter in this network may answer in the service's place, or the service bars the address, its network or its country
    # (developers.cloudflare.com, "Cloudflare 1xxx errors": 1005 to 1012, 1020, 1106).
    _cause(
        rf"(?i){_QUICK}[^\n]*(?:{_STATUS.format('(?:403|451)')}|error code: (?:100[5-9]|1010|1012|1020|1106))",
        ExitCause.REFUSED_QUICK,
        "the quick-tunnel service makes no tunnel for this network or address (403)",
        _OTHER_NETWORK_HINT,
    ),
    # The service answered JSON without a tunnel; cloudflared before 2026.9.3 drops the status and the error text of such an
    # answer, a newer one has none to show. That too many were asked for is the known reason, and a long wait is also right
    # for a service in trouble.
    _cause(
        rf"(?im)failed to parse {_QUICK} ID: invalid UUID length: 0\b|^{_QUICK} provisioning failed\s*$",
        ExitCause.RATE_LIMITED,
        "the quick-tunnel service created no tunnel and cloudflared does not say why; most often too many were asked for",
        _LIMIT_HINT,
    ),
    _cause(
        rf"(?i){_QUICK} provisioning failed with status (\d{{3}})",
        ExitCause.CRASH,
        "the quick-tunnel service answered {0} with something that is no tunnel",
    ),
    _cause(rf"(?i){_QUICK} provisioning failed: ([^\n]*\S)", ExitCause.CRASH, "the quick-tunnel service gave no tunnel: {0}"),
    _cause(
        rf"(?i)(?:{_QUICK} provisioning response|quick-tunnel response) exceeds maximum size",
        ExitCause.CRASH,
        "the quick-tunnel service answered with something that is no tunnel, and too long",
    ),
    _cause(
        rf"(?i)failed to request {_QUICK}: [^\n]*no such host",
        ExitCause.NETWORK,
        "the quick-tunnel service's name does not resolve",
    ),
    _cause(
        rf"(?i)failed to (?:request|read) {_QUICK}[^\n]*{_NO_NETWORK}",
        ExitCause.NETWORK,
        "the quick-tunnel service cannot be reached from here: {words}",
    ),
    _cause(
        rf"(?i)failed to read {_QUICK} response", ExitCause.CRASH, "the answer of the quick-tunnel service broke off: {words}"
    ),
    _cause(
        r"Error unmarshaling QuickTunnel response: [^\n]* (\d{3})\b[^\n]*",
        ExitCause.CRASH,
        "the quick-tunnel service answered {0} with something that is no tunnel",
    ),
    _cause(
        rf"(?i)failed to (?:parse|unmarshal) {_QUICK}\b",
        ExitCause.CRASH,
        "the quick-tunnel service answered with something that is no tunnel",
    ),
    _cause(
        rf"(?i)failed to request {_QUICK}: .*connection refused",
        ExitCause.CRASH,
        "the quick-tunnel service refuses connections",
    ),
    _cause(
        rf"(?i)failed to request {_QUICK}: .*(?:time.?out|deadline)",
        ExitCause.CRASH,
        "the quick-tunnel service does not answer",
    ),
    _cause(
        rf"(?i)(?:validate|initialize) {_QUICK} [^\n]*",
        ExitCause.CONFIG,
        "cloudflared cannot protect this quick tunnel: {words}",
        'in the lab set cloudflared_path = "builtin": the real one protects names of trycloudflare.com only',
    ),
    _cause(
        r"initial tunnel connection failed [^\n]*Unauthorized[^\n]*",
        ExitCause.AUTH,
        "the edge rejects the tunnel token: {words}",
        _RENEW_HINT,
    ),
    _cause(r"(?:missing port|too many colons) in address|error parsing YAML in config file", ExitCause.CONFIG),
    _cause(
        r"Error loading cert pool: [^\n]*(?:open|read) (/[^\n]+)",
        ExitCause.CONFIG,
        "cloudflared cannot read origin_ca: {0}",
        "set origin_ca to a PEM file that can be read",
    ),
    _cause(r"open (\S+): no such file or directory", ExitCause.CONFIG, "a file that cloudflared needs is not there: {0}"),
    _cause(r"unknown protocol (\S+),", ExitCause.CONFIG, "cloudflared does not know the protocol {0}"),
)
