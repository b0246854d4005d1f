"""A prx with a secret in every input, and everything that it puts out."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import psutil
from tests.e2e.prx_process import PrxProcess, clean_environment, started
from tests.security.canaries import Canary, canary, cloudflare_canaries, files_of, jwt_canary, token_canary
from tests.support.child import run
from tests.support.visitor import get

from prx.control.messages import encode
from prx.control.unixpath import address

PRX = (sys.executable, "-P", "-m", "prx")

# The same prx with its redaction switched off.
NAKED_SOURCE = """
import sys
from prx.logs.redact import Redactor
Redactor.line = lambda self, text: text
from prx.cli import main
sys.exit(main())
"""

# A service that says too much: at its start, and of every visitor.
SERVICE_SOURCE = """
import http.server, json, os, sys
from pathlib import Path
here = Path(__file__).parent
(here / "service.environ").write_text(json.dumps(dict(os.environ)))
for line in (here / "service.says").read_text().splitlines():
    print(line, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        for name, value in self.headers.items():
            print(f"{name}: {value}", flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

HOOK_SOURCE = """
import json, os
from pathlib import Path
(Path(__file__).parent / "hook.environ").write_text(json.dumps(dict(os.environ)))
"""

CONFIGURATION = """
log_level = "debug"
[tunnel]
health_check_interval_secs = 1
on_url = ["{hook}", "secret:hook-command"]
[tunnel.cloudflare]
cloudflared_path = "{connector}"
mode = "named"
hostname = "app.localhost"
log_level = "debug"
"""

# what a hook may find in its environment; PWD is made by the shell that hands it its stdin
HOOK_VARIABLES = {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "PRX_TUNNEL", "PRX_URL", "PRX_OLD_URL", "PWD"}


class Planted:
    """A home in which every input of prx holds a secret; `hook_port` is where a hook's server listens."""

    def __init__(self, folder: Path, connector: str, hook_port: int) -> None:
        self.folder = folder
        names = ("master-key", "access-secret", "hook-password", "hook-path", "hook-query", "hook-argument")
        plain = (*names, "bearer", "cookie", "client-secret", "api-key", "query", "service-password")
        self.canaries: dict[str, Canary] = {name: canary(name) for name in plain}
        for name in ("token", "stray-token", "service-token"):
            self.canaries[name] = token_canary(name)
        self.canaries["assertion"] = jwt_canary("assertion")
        marked = cloudflare_canaries()
        self.canaries |= marked
        self.environ = clean_environment(
            folder,
            CLOUDFLARE_TUNNEL_TOKEN=self["token"],
            TUNNEL_TOKEN=self["stray-token"],
            PRX_MASTER_KEY=self["master-key"],
            CF_ACCESS_CLIENT_ID="0123456789abcdef.access",
            CF_ACCESS_CLIENT_SECRET=self["access-secret"],
        )
        hook = f"http://user:{self['hook-password']}@127.0.0.1:{hook_port}/{self['hook-path']}?token={self['hook-query']}"
        said = [
            f"database postgres://user:{self['service-password']}@db/app, token {self['service-token']}",
            *(f"found {self[name]} lying about" for name in ("token", "stray-token", "master-key", "access-secret")),
            f"hook {self['hook-argument']} argument",
            *(f"trying {marked[name].text}, or so" for name in marked if name.startswith("cf")),
            f"the API token is {self['old-api-token']} and the client secret: {self['old-client-secret']}",
        ]
        self.inputs = (
            self._write("prx.toml", CONFIGURATION.format(hook=hook, connector=connector)),
            self._write("service.py", SERVICE_SOURCE),
            self._write("hook.py", HOOK_SOURCE),
            self._write("naked.py", NAKED_SOURCE),
            self._write("service.says", "\n".join(said)),
        )

    def __getitem__(self, name: str) -> str:
        return self.canaries[name].text

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def naked(self) -> tuple[str, ...]:
        """The command line of a prx that redacts nothing."""
        return (sys.executable, "-P", str(self.folder / "naked.py"))

    async def keep_secret(self) -> None:
        """Put the hook's command into the secrets file."""
        command = f"{sys.executable} {self.folder / 'hook.py'} --key {self['hook-argument']}"
        await self.run(PRX, "secret", "set", "hook-command", given=command)

    async def run(self, prx: tuple[str, ...], *arguments: str, given: str = "") -> str:
        """Run a command to its end; return stdout and stderr."""
        done = await run([*prx, *arguments], env=self.environ, cwd=self.folder, given=given)
        return done.out + done.err

    def started(self, prx: tuple[str, ...], *arguments: str) -> AbstractAsyncContextManager[PrxProcess]:
        """Run `prx start --json …` inside the block, started by a caller with a careless umask."""
        return started([*prx, "start", "--json", *arguments], environ=self.environ, cwd=self.folder, umask=0)

    async def visit(self, url: str) -> None:
        """Send a request that carries a secret wherever one can be."""
        headers = {
            "Authorization": f"Bearer {self['bearer']}",
            "Cookie": f"theme=dark; session={self['cookie']}",
            "CF-Access-Client-Secret": self["client-secret"],
            "Cf-Access-Jwt-Assertion": self["assertion"],
            "X-Api-Key": self["api-key"],
            "Referer": f"https://app.test/?access_token={self['query']}",
        }
        answer = await get(url, **headers)
        assert answer.content == b"ok"

    async def outputs(self, prx: tuple[str, ...], running: PrxProcess) -> dict[str, str]:
        """Return all that can be seen of a running prx, by the name of the place."""
        found = processes_below(running.process.pid)
        for words in ("status", "status --json", "url", "logs -n 10000", "config show --origin", "config check"):
            found[f"prx {words}"] = await self.run(prx, *words.split())
        found["control socket"] = await self.control_answers()
        found["stdout"] = json.dumps(running.events)
        found["stderr"] = "\n".join(running.lines)
        return found

    async def control_answers(self) -> str:
        """Ask the control socket everything that changes nothing, and some nonsense."""
        (path,) = (self.data / "run").glob("*.sock")
        with address(path) as short:
            reader, writer = await asyncio.open_unix_connection(short, limit=16 * 1024 * 1024)
        requests: list[Mapping[str, object]] = [{"do": "ping"}, {"do": "status"}, {"do": "url"}, {"do": "?"}, {"do": "reload"}]
        answers = []
        for request in requests:
            writer.write(encode(dict(request)))
            answers.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return b"".join(answers).decode()

    def files(self) -> dict[str, str]:
        """Read every file but the inputs."""
        return files_of(self.folder, without=self.inputs)

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path


def processes_below(pid: int) -> dict[str, str]:
    """Return the command line of prx, and command line and environment of every process below it."""
    found = {"argv of prx": " ".join(psutil.Process(pid).cmdline())}
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a hook that has just ended
            name = child.name()
            found[f"argv of {name} {child.pid}"] = " ".join(child.cmdline())
            found[f"environ of {name} {child.pid}"] = json.dumps(child.environ())
    return found
