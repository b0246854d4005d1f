"""`python -m tests.conformance.grpc_service KEY CERTIFICATE`: a gRPC service, as a program of its own.

It prints its port, and then a line for each thing that happens to a call of `Hang`. A program, because gRPC's threads and its
handlers for forks have no place in a process that runs tests. Messages are plain bytes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc

NAME = "prx.Test"


def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Echo the message and a header of the visitor's, with metadata before and behind."""
    context.send_initial_metadata((("x-before", "1"),))
    context.set_trailing_metadata((("x-behind", "2"),))
    return request + str(dict(context.invocation_metadata())["x-asked"]).encode()


def count(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    """Count up to a number."""
    for number in range(int(request)):
        yield b"%d" % number


def measure(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    """Return the number of bytes in all messages."""
    return b"%d" % sum(map(len, requests))


def echo(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Echo each message at once."""
    yield from requests


def fail(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Fail before there is an answer."""
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ä")
    raise AssertionError("abort raises")


def fail_late(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    """Fail behind a message."""
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "late")


def hang(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Say that a call is here, and whether it ends."""
    ended = threading.Event()
    context.add_callback(ended.set)
    sys.stdout.write("hangs\n")
    sys.stdout.flush()
    sys.stdout.write("ended\n" if ended.wait(30) else "went on\n")
    sys.stdout.flush()
    return b""


def main(key: str, certificate: str) -> None:
    """Serve until the process is killed."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Measure": grpc.stream_unary_rpc_method_handler(measure),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
