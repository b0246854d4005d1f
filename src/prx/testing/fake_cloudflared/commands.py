"""What a test can make happen in a running fake: one method for each control command, `NAME ARGUMENT`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from prx.testing.fake_cloudflared.output import Log, end, write, write_bytes
from prx.testing.fake_cloudflared.state import CONNECTOR_ID, State


class Commands:
    """Change the state, and log what cloudflared would log."""

    def __init__(self, state: State, log: Log) -> None:
        self.state = state
        self.log = log

    def find(self, name: str) -> Callable[[str], None]:
        """Return the method for a command; AttributeError if there is none."""
        method: Callable[[str], None] = getattr(self, f"do_{name}")
        return method

    def do_register(self, index: str) -> None:
        """Register the connection with this index."""
        self.state.connected.add(int(index))
        self.state.counters["register_success"] += 1
        place = {"connection": CONNECTOR_ID, "event": 0, "ip": "127.0.0.1", "location": f"fake{int(index):02}"}
        self.log("info", "Registered tunnel connection", connIndex=int(index), **place, protocol=self.state.protocol)

    def do_lose(self, which: str) -> None:
        """Lose the connection with this index, or `all` of them."""
        for index in sorted(self.state.connected) if which == "all" else [int(which)]:
            self.state.connected.discard(index)
            self.log("info", "Lost connection with the edge", connIndex=index)
            level = "warn" if self.state.connected else "error"
            self.log(level, "Serve tunnel error", error="connection with edge closed", connIndex=index)
            self.log("info", "Retrying connection in up to 1s", connIndex=index)

    def do_reject(self, reason: str) -> None:
        """Have a registration rejected; over QUIC the reason stays unknown."""
        self.state.counters["server_error"] += 1
        if self.state.protocol == "quic":
            self.log("error", "Serve tunnel error", error="control stream encountered a failure while serving", connIndex=0)
        else:
            self.log("error", "failed to serve incoming request", error=reason)
            self.log("error", "Register tunnel error from server side", error=reason, connIndex=0)

    def do_fail_dial(self, _: str) -> None:
        """Fail to reach the edge, once."""
        if self.state.protocol == "quic":
            error = "failed to dial to edge with quic: timeout: no recent network activity"
            self.log("error", "Failed to dial a quic connection", error=error, connIndex=0)
        else:
            error = "DialContext error: dial tcp 127.0.0.1:7844: connect: connection refused"
            self.log("error", "Unable to establish connection with Cloudflare edge", error=error, connIndex=0)
            self.log("error", "Serve tunnel error", error=error, connIndex=0)
        self.log("info", "Retrying connection in up to 2s", connIndex=0)

    def do_config(self, text: str) -> None:
        """Have the edge push this configuration: `{"version": N, "config": {…}}`."""
        self.state.config = json.loads(text)
        pushed = self.state.config
        self.log("info", "Updated to new configuration", config=json.dumps(pushed["config"]), version=pushed["version"])

    def do_count(self, text: str) -> None:
        """Add to counters: `{"total_requests": 3}`."""
        for name, more in json.loads(text).items():
            self.state.counters[name] += more

    def do_answering(self, text: str) -> None:
        """Answer on the metrics port (`on`), or accept and say nothing (`off`)."""
        self.state.answering = text == "on"

    def do_rename(self, hostname: str) -> None:
        """Have another public host name from now on, as a quick tunnel."""
        self.state.hostname = hostname
        self.log("info", f"|  https://{hostname}  |")

    def do_line(self, text: str) -> None:
        """Write this line to stderr as it is."""
        write(text)

    def do_flood(self, lines: str) -> None:
        """Write that many log lines, as fast as they are read."""
        for number in range(int(lines)):
            self.log("info", f"flood {number}")

    def do_pour(self, size: str) -> None:
        """Write that many bytes without a newline."""
        for left in range(int(size), 0, -65536):
            write_bytes(b"x" * min(left, 65536))

    def do_exit(self, text: str) -> NoReturn:
        """End with this code, after these words: `1 tunnel is gone`."""
        code, _, words = text.partition(" ")
        end(int(code), *([words] if words else []))

    def do_die(self, number: str) -> None:
        """Die by this signal."""
        if int(number) != signal.SIGKILL:
            signal.signal(int(number), signal.SIG_DFL)
        os.kill(os.getpid(), int(number))

    def stop(self, reason: str) -> NoReturn:
        """Leave as cloudflared does when it is asked to: unregister, say so, end with code 0."""
        self.log("info", f"Initiating graceful shutdown due to signal {reason} ...")
        for index in sorted(self.state.connected):
            self.log("info", "Unregistered tunnel connection", connIndex=index, event=0, ip="127.0.0.1")
        self.log("info", "Tunnel server stopped")
        self.log("info", "Metrics server stopped")
        end(0)
