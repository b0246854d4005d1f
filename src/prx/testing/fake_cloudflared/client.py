"""One run of the fake, from its command line to its end.

Scenario keys, all optional: `version`; `hostname` (quick tunnel; a new one for each run by default); `connections`
registered at the start; `lines` written first; `flood` lines or `pour` bytes written then; `exit` {"code": N, "lines": […]}
instead of running; `hang` "start" (never gets as far as its metrics port) or "metrics" (accepts there and never answers);
`ignore_sigterm`; `fork` (a second process in its group that ignores SIGTERM); `runs`: scenarios that override these for the
first, second, … run, the last of them for all later ones.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from typing import Any, NoReturn

from prx.testing.fake_cloudflared.commands import Commands
from prx.testing.fake_cloudflared.control import Control
from prx.testing.fake_cloudflared.flags import Flags
from prx.testing.fake_cloudflared.output import Log, end, write
from prx.testing.fake_cloudflared.quick import ask
from prx.testing.fake_cloudflared.state import State
from prx.testing.fake_cloudflared.token import digest, read_token, require_tunnel_id

VERSION = "2026.8.2"


def main(scenario_file: str, runs_file: str, control_port: int) -> NoReturn:
    """Run as the client with `sys.argv[1:]`; never returns. `control_port` 0: there are no commands."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in a Go program, the loss of its reader ends it
    arguments = sys.argv[1:]
    asks_version = arguments[:1] in (["version"], ["--version"])
    number = _count_lines(runs_file)
    scenario = _scenario(scenario_file, number)
    version = str(scenario.get("version", VERSION))
    if asks_version:
        end(0, f"cloudflared version {version} (built fake)", stream=1)
    flags = Flags(arguments, tuple(int(part) for part in version.split(".")))
    token = read_token(flags)
    record = {"pid": os.getpid(), "argv": arguments, "env": dict(os.environ), "token_sha256": digest(token)}
    with open(runs_file, "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs several ms of each start
        file.write(json.dumps(record) + "\n")
    control = Control(control_port)
    control.report("started", **record)
    if flags.error:
        end(0, flags.usage, stream=1)
    Client(scenario, flags, token, control).run(number + 1, version)


def _scenario(path: str, number: int) -> dict[str, Any]:
    """Return the scenario of a run, the first being number 0."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - see `main`
        scenario: dict[str, Any] = json.load(file)
    runs = scenario.get("runs") or [{}]
    scenario |= runs[min(number, len(runs) - 1)]
    return scenario


def _count_lines(path: str) -> int:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - see `main`
            return file.read().count(b"\n")
    except FileNotFoundError:
        return 0


class Client:
    """The running fake: one loop over its metrics server, its control connection and its signals."""

    def __init__(self, scenario: dict[str, Any], flags: Flags, token: str | None, control: Control) -> None:
        self.scenario, self.flags, self.token, self.control = scenario, flags, token, control
        self.log = Log(as_json=flags.get("output") == "json")
        self.state = State(flags.get("url", "http://localhost:8080"), flags.get("protocol", "quic"))
        self.state.answering = scenario.get("hang") != "metrics"
        self.commands = Commands(self.state, self.log)
        self.selector = selectors.DefaultSelector()
        self.unanswered: list[socket.socket] = []

    def run(self, number: int, version: str) -> NoReturn:
        """Live until a signal, a command or the scenario ends it."""
        wake = _catch_signals()
        if self.scenario.get("fork") and os.fork() == 0:
            if self.control.socket:
                self.control.socket.close()  # its end means the end of this run, not of what it leaves behind
            _ignore_sigterm_for_ever()
        self._begin(number, version)
        if self.scenario.get("hang") != "start":
            self._serve_metrics()
        self.selector.register(wake, selectors.EVENT_READ, self._on_signal)
        if self.control.socket:
            self.selector.register(self.control.socket, selectors.EVENT_READ, self._on_control)
        self.log("info", f"Initial protocol {self.state.protocol}")
        for index in range(self.scenario.get("connections", 4 if self.flags.named else 1)):
            self.commands.do_register(str(index))
        self.commands.do_flood(self.scenario.get("flood", 0))
        self.commands.do_pour(self.scenario.get("pour", 0))
        self.control.report("running")
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)

    def _begin(self, number: int, version: str) -> None:
        for line in self.scenario.get("lines", ()):
            write(line)
        if last := self.scenario.get("exit"):
            end(last["code"], *last.get("lines", ()))
        if self.flags.named:
            self.log("info", "Starting tunnel", tunnelID=require_tunnel_id(self.token, self.flags))
        else:
            self._request_quick_tunnel(f"fake-quick-name-{number}.trycloudflare.com", version)
        self.log("info", f"Version {version} (Checksum fake)")

    def _request_quick_tunnel(self, default: str, version: str) -> None:
        self.log("info", "Requesting new quick Tunnel on trycloudflare.com...")
        service = self.flags.get("quick-service")
        given = ask(service, version, self.log) if service else default
        self.state.hostname = self.scenario.get("hostname", given)
        self.log("info", "|  Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):  |")
        self.log("info", f"|  https://{self.state.hostname}  |")

    def _serve_metrics(self) -> None:
        address = self.flags.get("metrics", "127.0.0.1:0")
        host, _, port = address.partition(":")
        try:
            listener = socket.create_server((host, int(port)))
        except OSError:
            reason = f"failed to bind to address ({address}): listen tcp {address}: bind: address already in use"
            self.log("error", "Error opening metrics server listener", error=reason)
            end(1, f"Error opening metrics server listener: {reason}")
        self.selector.register(listener, selectors.EVENT_READ, self._on_connection)
        self.log("info", f"Starting metrics server on {address}/metrics")

    def _on_signal(self, wake: socket.socket) -> None:
        name = signal.Signals(wake.recv(1)[0]).name
        self.control.report("signal", name=name)
        if not self.scenario.get("ignore_sigterm"):
            self.commands.stop("terminated" if name == "SIGTERM" else "interrupt")

    def _on_connection(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self.selector.register(connection, selectors.EVENT_READ, self._on_request)

    def _on_request(self, connection: socket.socket) -> None:
        """Answer one request; that of a probe fits into one segment."""
        self.selector.unregister(connection)
        try:
            request = connection.recv(65536)
            if request and not self.state.answering:
                self.unanswered.append(connection)  # held open, as by a client that hangs
                return
            if request:
                status, body = self.state.answer(request.split(b" ")[1].decode())
                head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + body)
        except OSError:
            pass  # the client has gone
        connection.close()

    def _on_control(self, connection: socket.socket) -> None:
        commands = self.control.commands()
        if commands is None:
            self.selector.unregister(connection)
            self.control.socket = None
        for command in commands or ():
            name, _, argument = command.partition(" ")
            self.commands.find(name)(argument)
            self.control.report("done", command=name)


def _catch_signals() -> socket.socket:
    """Return a socket that becomes readable, with the signal's number, when SIGTERM or SIGINT comes."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader


def _ignore_sigterm_for_ever() -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()
