"""The token that the edge really takes, a hook that fails and tells all, and a visitor, with prx inside of this process."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from pathlib import Path

import pytest
from tests.e2e.world import World, world
from tests.security.canaries import Canary, canary, files_of, jwt_canary, leaks
from tests.security.scene import processes_below
from tests.support.origin import serving
from tests.support.visitor import get

from prx.config.schema import AccessSettings
from prx.core.events import HookRan
from prx.lab import Lab, LabConfig
from prx.logs.redact import Redactor
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock

# It gets a secret that prx knows, and one that only its place in a line gives away.
HOOK = """
import sys
print(f"posting with {sys.argv[1]}", file=sys.stderr)
print("Authorization: Bearer", sys.argv[2], file=sys.stderr)
sys.exit(1)
"""
CLOUDFLARE = {"mode": "named", "hostname": "app.localhost", "log_level": "debug"}


class Scene:
    """What is planted, and a way to see everything that comes out."""

    def __init__(self, folder: Path, connector: str) -> None:
        self.folder = folder
        self.connector = connector
        self.canaries = {name: canary(name) for name in ("access-secret", "bearer", "cookie")}
        self.canaries["assertion"] = jwt_canary("assertion")
        self.hook = folder / "hook.py"
        self.hook.write_text(HOOK)

    async def outputs(self) -> dict[str, str]:
        """Have a tunnel come up, a visitor come and a hook fail; return everything that was to be seen."""
        clock = ManualClock()
        access_secret, bearer = self.canaries["access-secret"].text, self.canaries["bearer"].text
        async with Lab.start(LabConfig(clock=clock.monotonic)) as lab:
            token = lab.token("app")
            self.canaries["token"] = Canary("token", (token, json.loads(base64.b64decode(token))["s"]))
            with serving() as origin:
                async with world(
                    lab,
                    clock,
                    self.folder,
                    connector=self.connector,
                    port=origin.port,
                    access=AccessSettings(client_id="id.access", client_secret=Secret(access_secret)),
                    cloudflare={**CLOUDFLARE, "token": Secret(token)},
                    on_url=(f"{sys.executable} {self.hook} {access_secret} {bearer}",),
                ) as here:
                    await here.live(lambda status: status.state == "ready")
                    await self._visit(here.status.url)
                    await hook_has_failed(here)
                    return self._seen(here)

    async def _visit(self, url: str) -> None:
        cookie, assertion = self.canaries["cookie"].text, self.canaries["assertion"].text
        headers = {"Cookie": f"s={cookie}", "Cf-Access-Jwt-Assertion": assertion}
        answer = await get(url, Authorization=f"Bearer {self.canaries['bearer'].text}", **headers)
        assert answer.status_code == 200

    def _seen(self, here: World) -> dict[str, str]:
        processes = processes_below(os.getpid())
        children = [name for name, text in processes.items() if str(self.folder) in text and name.startswith("argv")]
        assert children, "the connector is not among the processes"
        ours = {name.partition(" of ")[2] for name in children}
        found = {name: text for name, text in processes.items() if name.partition(" of ")[2] in ours}
        found["events"] = json.dumps([event.to_json() for event in here.events], default=str)
        found["status"] = json.dumps([status.to_json(0.0) for status in here.supervisor.statuses()])
        return found | files_of(self.folder, without=(self.hook,))


async def hook_has_failed(here: World) -> None:
    """Advance the time quickly, through all tries of the hook."""
    async with asyncio.timeout(40):
        while not here.told(HookRan):
            here.clock.advance(0.5)
            await asyncio.sleep(0.02)  # the hook runs at its own pace


async def test_no_output_shows_a_secret(tmp_path: Path, connector: str) -> None:
    """Nothing of the lab's token, of the service token, of a visitor or of a hook's last words is to be seen."""
    scene = Scene(tmp_path, connector)
    found = await scene.outputs()
    assert leaks(found, scene.canaries) == set()
    assert "posting with [redacted]" in found["events"]


async def test_the_search_finds_what_redaction_hides(tmp_path: Path, connector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With redaction switched off the same search finds what the hook reported, and the headers that cloudflared logs."""
    monkeypatch.setattr(Redactor, "line", lambda self, text: text)
    scene = Scene(tmp_path, connector)
    found = leaks(await scene.outputs(), scene.canaries)
    visitors = set() if connector == "builtin" else {"cookie", "assertion"}  # the builtin one logs no headers
    assert found >= {("events", name) for name in {"access-secret", "bearer"} | visitors}
