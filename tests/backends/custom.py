"""A third backend, as small as one can be: any program that prints the URL under which it makes the service public."""

# The types of the settings are read when prx runs: no `from __future__ import annotations` here.

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prx.backends.base import Backend, Client, EdgeSite, LaunchContext, LineKind, LogLine, service_keys
from prx.config.declare import key
from prx.config.schema import TunnelSettings
from prx.core.errors import PermanentError
from prx.core.evidence import ChildExit, ExitCause
from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch

NAME = "custom"

# Serves the number of its own process under a URL that is another one each time.
CLIENT = """
import http.server, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"hello from %d" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
print("forwarding", sys.argv[1], flush=True)
print("up", flush=True)
print(f"public at http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""
_URL = re.compile(r"public at (http://\S+)")


@dataclass(frozen=True, kw_only=True)
class CustomSettings(TunnelSettings):
    """`[tunnel]` with the name of this backend among those that may be chosen."""

    backend: Literal["cloudflare", "none", "custom"] = key(NAME, "Who makes the service public.")  # type: ignore[assignment]


class CustomBackend(Backend, Client):
    """The backend: everything that it does not say here is a default."""

    name = NAME
    mode = "script"
    url_is_temporary = True
    stop_grace = 1.0
    install_hint = "write the script first"

    def __init__(self, settings: TunnelSettings, program: str = sys.executable) -> None:
        self.settings = settings
        self._program = program

    @property
    def client(self) -> Client:
        """The program."""
        return self

    def check(self) -> None:
        """Raise PermanentError for a service that it cannot forward to."""
        if self.settings.origin.scheme != "http":
            raise PermanentError("the script speaks plain HTTP")

    def needs_new_child(self, old: Backend) -> bool:
        """Return whether what it forwards to is another thing."""
        return not isinstance(old, CustomBackend) or service_keys(old.settings) != service_keys(self.settings)

    def program(self) -> tuple[str, ...]:
        """Return the interpreter."""
        return (self._program,)

    def launch(self, context: LaunchContext) -> Launch:
        """Return the command."""
        argv = (*context.program, "-I", "-S", "-c", CLIENT, self.settings.origin_url)
        return Launch(argv, {"PATH": context.inherited.get("PATH", "")}, cwd=context.home)

    def parse_line(self, stream: str, line: str) -> LogLine:
        """Understand "up" and "public at URL"."""
        if line == "up":
            return LogLine("info", line, LineKind.REGISTERED, connection=0)
        kind = LineKind.QUICK_URL if _URL.fullmatch(line) else LineKind.OTHER
        return LogLine("error" if stream == "stderr" else "info", line, kind)

    def announced_url(self, line: LogLine, site: EdgeSite) -> str:
        """Return the URL in "public at URL"."""
        match = _URL.fullmatch(line.message)
        return match[1] if match else ""

    def classify_exit(self, end: ExitStatus, tail: Sequence[LogLine], *, age: float) -> ChildExit:
        """Call each end a crash, with its last line."""
        return ChildExit(end.code, end.signal, ExitCause.CRASH, tail[-1].message if tail else "")
