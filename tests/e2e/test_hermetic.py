"""Nothing of the user's surroundings changes what the child does, and no secret is seen outside."""

import base64
import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from tests.e2e.bench import Bench
from tests.e2e.prx_process import live_pids, prx_start
from tests.support.origin import HostedOrigin
from tests.support.visitor import get


async def test_a_stray_configuration_changes_nothing(bench: Bench, origin: HostedOrigin) -> None:
    """A config.yml in ~/.cloudflared that routes elsewhere and a TUNNEL_URL in the environment do nothing."""
    stray = Path(bench.environ["HOME"]) / ".cloudflared"
    stray.mkdir()
    (stray / "config.yml").write_text("ingress:\n  - service: http_status:418\n")
    environ = {**bench.environ, "TUNNEL_URL": "http://127.0.0.1:1", "TUNNEL_METRICS": "127.0.0.1:1", "LISTEN_FDS": "1"}
    async with prx_start(str(origin.port), "--lab", environ=environ, cwd=bench.folder) as prx:
        answer = await get(await prx.url())
        assert (answer.status_code, answer.content) == (200, b"hello from the origin")
        assert await prx.stop() == 0


@pytest.mark.parametrize("mode", ["named"])
async def test_the_token_is_seen_nowhere(bench: Bench, origin: HostedOrigin) -> None:
    """The token of a named tunnel is in no command line, no environment, no event, no log and no file."""
    async with prx_start(str(origin.port), "--lab", environ=bench.environ, cwd=bench.folder) as prx:
        await prx.url()
        child = (await prx.event("child_started"))["pid"]
        state = json.loads((await prx.ask("status", "--json"))[1])
        assert state["tunnels"][0]["mode"] == "named"
        secret = _token_of(prx.process.pid)
        needles = [secret, json.loads(base64.b64decode(secret))["s"]]
        outputs = [json.dumps(prx.events), "\n".join(prx.lines), json.dumps(state), (await prx.ask("logs", "-n", "1000"))[1]]
        outputs += [_read(f"/proc/{pid}/{part}") for pid in (child, prx.process.pid) for part in ("cmdline", "environ")]
        outputs += [_read(path) for path in Path(bench.environ["PRX_DATA_DIR"]).rglob("*") if path.is_file()]
        for needle in needles:
            assert live_pids(needle) == []
            assert [output for output in outputs if needle in output] == []
        assert await prx.stop() == 0


def _read(path: str | Path) -> str:
    return Path(path).read_bytes().decode(errors="replace")


def _token_of(pid: int) -> str:
    """Find the lab's token in the memory of prx: it is made there, and leaves it nowhere."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb") as memory:
        for line in maps:
            span, mode, *_ = line.split()
            if not mode.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(start)
                found = memory.read(end - start)
            except OSError:
                continue
            for match in re.finditer(rb"eyJhIjoi[A-Za-z0-9+/]{80,}={0,2}", found):
                with suppress(ValueError):
                    if "s" in json.loads(base64.b64decode(match[0])):
                        return match[0].decode()
    raise AssertionError("no token in the memory of prx")
