"""`python -m tests.conformance.grpc_visitor ADDRESS HOSTNAME CA CALL`: one call of a gRPC client; what came of it as JSON.

A program, for the reason that `tests.conformance.grpc_service` gives.
"""

from __future__ import annotations

import json
import queue
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from tests.conformance.grpc_service import NAME
from tests.support.waits import PATIENCE

MESSAGES = 50


def unary(channel: grpc.Channel) -> dict[str, Any]:
    """Ask once, with metadata."""
    call = channel.unary_unary(f"/{NAME}/Unary")
    answer, ended = call.with_call(b"x" * 1_000_000, timeout=PATIENCE, metadata=(("x-asked", "yes"),))
    before, behind = dict(ended.initial_metadata()), dict(ended.trailing_metadata())
    return {"size": len(answer), "end": answer[-3:].decode(), "before": before["x-before"], "behind": behind["x-behind"]}


def count(channel: grpc.Channel) -> dict[str, Any]:
    """Take a thousand messages."""
    return {"messages": len(list(channel.unary_stream(f"/{NAME}/Count")(b"1000", timeout=PATIENCE)))}


def measure(channel: grpc.Channel) -> dict[str, Any]:
    """Send three hundred messages."""
    return {"size": int(channel.stream_unary(f"/{NAME}/Measure")(iter([b"x" * 10_000] * 300), timeout=PATIENCE))}


def echo(channel: grpc.Channel) -> dict[str, Any]:
    """Send each message when the one before has come back."""
    outbox: queue.Queue[bytes | None] = queue.Queue()
    call = channel.stream_stream(f"/{NAME}/Echo")(iter(outbox.get, None), timeout=PATIENCE)
    for number in range(MESSAGES):
        outbox.put(b"%d" % number)
        assert next(call) == b"%d" % number
    outbox.put(None)
    return {"left": list(call)}


def fail(channel: grpc.Channel) -> dict[str, Any]:
    """Ask for what is not there."""
    channel.unary_unary(f"/{NAME}/Fail")(b"", timeout=PATIENCE)
    return {}


def fail_late(channel: grpc.Channel) -> dict[str, Any]:
    """Ask for what fails on the way; the message before is reported on stderr."""
    messages: Iterator[bytes] = channel.unary_stream(f"/{NAME}/FailLate")(b"", timeout=PATIENCE)
    assert next(messages) == b"one"
    list(messages)
    return {}


def deadline(channel: grpc.Channel) -> dict[str, Any]:
    """Wait for one second only."""
    channel.unary_unary(f"/{NAME}/Hang")(b"", timeout=1)
    return {}


def cancel(channel: grpc.Channel) -> dict[str, Any]:
    """Cancel as soon as a line on stdin says so."""
    call = channel.unary_unary(f"/{NAME}/Hang").future(b"", timeout=PATIENCE)
    sys.stdin.readline()
    call.cancel()
    return {"cancelled": call.cancelled()}


CALLS: dict[str, Callable[[grpc.Channel], dict[str, Any]]] = {
    call.__name__: call for call in (unary, count, measure, echo, fail, fail_late, deadline, cancel)
}


def main(address: str, hostname: str, ca: str, call: str) -> None:
    """Make the call; a status that is not OK is an answer too."""
    options = [("grpc.ssl_target_name_override", hostname), ("grpc.enable_http_proxy", 0)]
    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes())
    with grpc.secure_channel(address, credentials, options=options) as channel:
        try:
            found = {"status": "OK", **CALLS[call](channel)}
        except grpc.RpcError as error:
            found = {"status": error.code().name, "details": error.details()}
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
