"""A lab as a process of its own, and its faults through the control endpoint."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import secrets
import signal
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.room.namespace import ports_of
from bench.room.program import PRX, first_line, running

Json = dict[str, Any]


class LabRefusedError(RuntimeError):
    """The lab did not take a request."""


class RunningLab:
    """A lab; `facts` is what `prx lab --json` says, `outside` the address that the bench speaks from, if any."""

    def __init__(self, process: asyncio.subprocess.Process, facts: Json, outside: str) -> None:
        self.facts = facts
        self.edge = [str(address) for address in facts["edge"]]
        self._process = process
        self._outside = outside

    @property
    def public_port(self) -> int:
        """The port that visitors come to."""
        return int(str(self.facts["public"]).rpartition(":")[2])

    @property
    def edge_ports(self) -> list[int]:
        """The ports that connectors come to, over TCP and UDP."""
        return ports_of(self.edge)

    @property
    def control_port(self) -> int:
        """The port of the control endpoint, and of DNS over HTTPS."""
        return int(str(self.facts["control"]).rpartition(":")[2])

    @property
    def quick_port(self) -> int:
        """The port where quick tunnels are asked for."""
        return int(str(self.facts["quick_service"]).rpartition(":")[2])

    async def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """Ask the control endpoint; LabRefusedError says why it did not do it."""
        return await asyncio.to_thread(self._ask, method, path, body)

    def _ask(self, method: str, path: str, body: Json | None) -> Json:
        where = urlsplit(str(self.facts["control"]))
        source = (self._outside, 0) if self._outside else None
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10, source_address=source)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer: Json = json.loads(response.read())
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise LabRefusedError(str(answer.get("error", answer)))
        return answer

    async def fault(self, words: str) -> None:
        """Do a line of a fault script now, as `prx lab fault WORDS` does."""
        await self.ask("POST", "/faults", {"script": words})

    async def knows(self, fault: str) -> bool:
        """Return whether this lab has a fault of that name (as in a script, with hyphens)."""
        try:
            await self.ask("POST", "/faults", {"fault": "?"})
        except LabRefusedError as error:
            known = {word.strip(" ,.").lower() for word in str(error).partition("expected one of")[2].split()}
            return fault.replace("-", "") in known
        return False

    async def state(self) -> Json:
        """Return everything that the lab reports of itself."""
        return await self.ask("GET", "/state")

    async def token(self, hostname: str) -> str:
        """Make a named tunnel and give its token."""
        return str((await self.ask("POST", "/token", {"hostname": hostname}))["token"])

    async def rotate_token(self, hostname: str) -> str:
        """Return a named tunnel another secret through Cloudflare's API, and return the token with it."""
        tunnel = json.loads(base64.b64decode(await self.token(hostname)))["t"]
        await asyncio.to_thread(self._change_secret, tunnel)
        return await self.token(hostname)

    def _change_secret(self, tunnel: str) -> None:
        facts = self.facts
        request = urllib.request.Request(
            f"{facts['api']}/accounts/{facts['account_id']}/cfd_tunnel/{tunnel}",
            json.dumps({"tunnel_secret": base64.b64encode(secrets.token_bytes(32)).decode()}).encode(),
            {"Authorization": f"Bearer {facts['api_token']}", "Content-Type": "application/json"},
            method="PATCH",
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    async def connections(self, hostname: str) -> list[Json]:
        """List the live connections of a tunnel."""
        tunnels = (await self.state())["tunnels"]
        return next((tunnel["connections"] for tunnel in tunnels if tunnel["hostname"] == hostname), [])

    def freeze(self) -> None:
        """Stop the whole process: nothing of it answers, and nothing is refused."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue it."""
        os.kill(self._process.pid, signal.SIGCONT)


@asynccontextmanager
async def running_lab(folder: Path, *, outside: str = "") -> AsyncIterator[RunningLab]:
    """Run `prx lab --json`."""
    async with running([*PRX, "lab", "--json"], folder=folder, name="lab") as process:
        yield RunningLab(process, json.loads(await first_line(process)), outside)
