"""The fake's end of the connection to its test: events go out as JSON lines, commands come in as lines."""

from __future__ import annotations

import json
import socket
from typing import Any


class Control:
    """The connection, or nothing if `port` is 0 or the test has ended."""

    def __init__(self, port: int) -> None:
        self.socket: socket.socket | None = None
        self._rest = b""
        if port:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
            except OSError:
                self.socket = None

    def report(self, event: str, **facts: Any) -> None:
        """Report an event."""
        if self.socket:
            try:
                self.socket.sendall(json.dumps({"event": event, **facts}).encode() + b"\n")
            except OSError:
                self.socket = None

    def commands(self) -> list[str] | None:
        """Return the commands that have come; None when the test has closed the connection."""
        assert self.socket is not None
        try:
            chunk = self.socket.recv(65536)
        except OSError:
            chunk = b""
        if not chunk:
            return None
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line.decode() for line in lines]
