"""The real cloudflared as a child, for tests marked `real`."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tests.support.child import Child, running

from prx.lab import Lab

VARIABLE = "PRX_TEST_CLOUDFLARED"


def binary() -> str:
    """The path of the real cloudflared; skips the test, and says so, if there is none."""
    path = os.environ.get(VARIABLE, "")
    if not path:
        pytest.skip(f"{VARIABLE} does not name a cloudflared")
    return path


def run_cloudflared(lab: Lab, folder: Path, *flags: str, after_run: tuple[str, ...] = ()) -> AbstractAsyncContextManager[Child]:
    """Run `cloudflared tunnel …` against a lab over HTTP/2; `after_run` makes it `… run …`, for a named tunnel."""
    config = folder / "config.yml"
    config.write_text("{}")
    arguments = ["tunnel", "--no-autoupdate", "--no-prechecks", "--config", str(config), "--metrics", "127.0.0.1:0"]
    for address in lab.edge_addrs:
        arguments += ["--edge", address]
    arguments += ["--cacert", str(lab.ca_file), "--quick-service", lab.quick_service, "--protocol", "http2", *flags]
    if after_run:
        arguments += ["run", *after_run]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
    return running([binary(), *arguments], Child, env=environment)
