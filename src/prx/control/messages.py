"""The lines that go over the control socket.

Theory of operation. A client connects to the unix socket of one running prx and writes requests; each is one JSON object on a
line of its own, with `do` and its arguments. The server answers each with one line: `{"ok": true, …}`, or
`{"ok": false, "error", "hint", "exit", "code"}`; `exit` is the exit code that a command should end with. `events` is the one
request with an endless answer: after its `{"ok": true}` each event follows as a line, until either side closes. A connection
carries any number of requests, one after the other. The end of the connection means that prx is ending.

`hold` keeps a prx that was started with `--held` running until the connection ends, however that comes, and for `keep` seconds
more; the processes in `also` keep it as well, until they end. Another prx runs as long as it would. A line on a connection that
holds ends the hold: the answer says whether prx ends with it. A prx that is stopping refuses with the code `stopping`.

    do        arguments         answer
    ping      -                 pid, version, config, log, lab, asked, tunnels: list of {name, local_addr}
    status    -                 tunnels: list of what `prx status --json` prints
    why       tunnel            tunnels: list of what `prx why --json` prints
    url       tunnel, wait,     urls: {name: url}; waits at most `wait` seconds for what is not verified yet; with `known`
              known             a URL that is known and not verified counts
    hold      keep, also        what ping answers; then {"ok": true, "ends"} to a line on the same connection
    stop      tunnel            all: pid, at once; one: when it is down
    restart   tunnel            at once
    reload    -                 when the configuration is read; its problems as an error
    events    -                 the stream
    requests  tunnel, filter, positions, after, limit, wait, own, oldest
                                requests: those that fit and were answered after `positions`, the newest of them, or with
                                `oldest` the first; positions: {tunnel: number}, to ask for what comes later; or with
                                `after`, an id, the first that were answered after that one; last: the id to go on from
    request   tunnel, id        request: all that is kept of it
    replay    tunnel, id, edit, request: what was sent to the service again, and its answer; refused if `at` is given and the
              at                request with this id began at another time, that is, if it belongs to an earlier prx
    retarget  tunnel, addr      at once
    own_mark  url               own_mark: the word by which this prx knows its own checks that come through this URL; empty if
                                it does not carry what comes there. It opens a gate: it goes to no other user and into no log

Limits: a request is at most 64 KiB and arrives within 10 seconds of its first byte. A `replay`, whose `do` comes first, is at
most 24 MiB, which has room for a body of 16 MiB in base64.
"""

from __future__ import annotations

import json
from typing import Any

from prx.core.errors import NotReadyError, PermanentError, PrxError, UsageError
from prx.core.parsing import parse_json

REQUEST_LIMIT = 64 * 1024
REPLAY_LIMIT = 24 * 1024 * 1024
WAIT_LIMIT = 3600.0  # seconds: the longest wait that a client can ask for
REPLAY_BEGINS = b'{"do":"replay",'  # as `encode` writes it
ANSWER_LIMIT = 4 * 1024 * 1024  # a status of many tunnels; a client reads no more than this for one line

_BY_EXIT_CODE: dict[int, type[PrxError]] = {2: UsageError, 3: PermanentError, 4: NotReadyError}

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """Return `message` as one line with its newline."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read one line; raise ValueError if it is not a JSON object."""
    message = parse_json(line)
    if not isinstance(message, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - bad content, like all that this function refuses
    return message


def refusal(error: PrxError) -> Message:
    """Return the answer that carries `error` to the other side."""
    problems = getattr(error, "problems", ())
    text = "\n".join([error.message, *problems])
    return {"ok": False, "error": text, "hint": error.hint, "exit": error.exit_code, "code": error.code}


def raised(answer: Message) -> PrxError:
    """Return the exception that a refusing answer stands for."""
    kind = _BY_EXIT_CODE.get(answer.get("exit", 1), PrxError)
    found = kind(str(answer.get("error", "refused without a reason")), hint=str(answer.get("hint", "")))
    found.code = str(answer.get("code") or found.code)
    return found
