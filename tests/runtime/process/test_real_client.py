"""The real client as a child: it reads its token from the one-shot pipe, and ends when it is asked to."""

import base64
import json
import os
from pathlib import Path

import pytest
from tests.runtime.process.children import Child

from prx.core.exit_status import ExitStatus
from prx.core.launch import SECRET_PATH, Launch

CLIENT = os.environ.get("PRX_TEST_CLOUDFLARED", "")
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
TOKEN = base64.b64encode(json.dumps({"a": "0" * 32, "t": TUNNEL, "s": "c2VjcmV0"}).encode())


@pytest.mark.real
@pytest.mark.skipif(not CLIENT, reason="PRX_TEST_CLOUDFLARED names no cloudflared")
async def test_token_by_pipe(child: Child, tmp_path: Path) -> None:
    """The tunnel named by the token in the pipe is started; the token is in no argument, variable or line."""
    config = tmp_path / "empty.yml"
    config.write_text("{}")
    edges = ("--edge", "127.0.0.1:1", "--edge", "127.0.0.1:1")
    flags = ("--config", str(config), "--no-autoupdate", "--no-prechecks", "--protocol", "http2", *edges)
    argv = (CLIENT, "tunnel", *flags, "--metrics", "127.0.0.1:0", "run", "--token-file", SECRET_PATH)
    async with await child.start(Launch(argv, {"HOME": str(tmp_path)}, secret=TOKEN)) as process:
        await child.until(lambda: any(f"tunnelID={TUNNEL}".encode() in line for _, line in child.lines))
        proc = Path(f"/proc/{process.pid}")
        assert TOKEN not in (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        await child.until(lambda: any(b"Starting metrics server" in line for _, line in child.lines))
        process.terminate()
        assert await process.wait() == ExitStatus(code=0)
        assert not any(TOKEN in line for _, line in child.lines)
