"""Secrets are planted in every input of a running prx, and every output is searched for them."""

from __future__ import annotations

import json

import pytest
from tests.security.canaries import leaks
from tests.security.scene import HOOK_VARIABLES, PRX, Planted
from tests.support.waits import free_port


async def all_outputs(planted: Planted, prx: tuple[str, ...]) -> dict[str, str]:
    """Run prx through a whole life with a visitor; return everything that was to be seen of it."""
    await planted.keep_secret()
    command = (PRX[0], str(planted.folder / "service.py"))
    async with planted.started(prx, "--lab", str(free_port()), "--", *command) as running:
        url = await running.url()
        await running.event("hook", ok=True, hook=PRX[0])
        await running.first(lambda event: event["event"] == "hook" and event["hook"].startswith("http"), "web hook")
        await planted.visit(url)
        # the last header line that the service writes about this visit
        await running.first(lambda event: "Referer:" in event.get("message", ""), "the service's line")
        found = await planted.outputs(prx, running)
        assert await running.stop() == 0
        found["stdout"] = json.dumps(running.events)
    found["stderr"] = "\n".join(running.lines)
    return found | planted.files()


async def test_no_output_shows_a_secret(planted: Planted) -> None:
    """Tokens, keys, passwords and visitors' credentials are in no argument, environment, event, log, answer or file."""
    found = await all_outputs(planted, PRX)
    assert leaks(found, planted.canaries) == set()
    assert {"service.environ", "hook.environ"} <= {name.removeprefix("file ") for name in found}
    assert json.loads(found["file hook.environ"]).keys() <= HOOK_VARIABLES
    assert "[redacted]" in found["prx logs -n 10000"]


@pytest.mark.parametrize("connector", ["builtin"])
async def test_the_search_finds_what_redaction_hides(planted: Planted) -> None:
    """With redaction switched off the same search finds secrets in every output that carries text from outside."""
    found = await all_outputs(planted, planted.naked)
    seen = leaks(found, planted.canaries)
    log_file = next(name for name in found if name.startswith("file data/logs/"))
    everywhere = {"token", "stray-token", "master-key", "access-secret", "service-token", "service-password", "hook-argument"}
    everywhere |= {"cfast_secret", "cfut_secret", "cfat_secret", "cfk_secret", "old-api-token", "old-client-secret"}
    visitors = {"bearer", "cookie", "client-secret", "assertion", "api-key", "query"}
    for output in ("stdout", "stderr", "prx logs -n 10000", log_file):
        assert {name for place, name in seen if place == output} >= everywhere | visitors, output
