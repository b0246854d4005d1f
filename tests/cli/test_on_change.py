"""`on_change` of a real prx, which ends because nothing can run, or is ended in the middle of trouble."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cli.home import Home
from tests.support.origin import serving
from tests.support.waits import PATIENCE, free_port


def test_the_last_words_of_a_prx_that_cannot_run(home: Home) -> None:
    """The only tunnel fails for good: prx ends with 3, and the hook has heard why before."""
    hook = home.folder / "hook.sh"
    hook.write_text("#!/bin/sh\ncat >>heard\n")
    hook.chmod(0o755)
    (home.folder / "prx.toml").write_text(
        f'[tunnel]\nlocal_addr = "127.0.0.1:{free_port()}"\non_change = ["./hook.sh"]\n'
        '[tunnel.cloudflare]\ncloudflared_path = "no-such-cloudflared"\n'
    )
    assert home.start().end() == 3
    heard = json.loads((home.folder / "heard").read_text())
    assert (heard["event"], heard["data"]["verdict"], heard["data"]["tunnel"]) == ("trouble", "misconfigured", "default")


def test_an_address_is_not_shown(home: Home) -> None:
    """`prx config show` shows the scheme of an apprise address, no long word of a URL, and no key."""
    (home.folder / "prx.toml").write_text(
        '[tunnel]\non_change = ["slack://tokenA/tokenB", "https://x.example/0123456789abcdef0123456789abcdef"]\n'
        'hook_secret = "hunter2hunter2"\n'
    )
    (home.folder / "prx.toml").chmod(0o600)
    shown = home.run("config", "show").stdout
    assert "slack://***" in shown
    for secret in ("tokenA", "0123456789abcdef", "hunter2"):
        assert secret not in shown


def _hear(heard: Path, count: int) -> list[dict[str, Any]]:
    """Wait until so many notices have come, and return them."""
    end = time.monotonic() + 2 * PATIENCE
    while not heard.exists() or heard.read_text().count("\n") < count:
        assert time.monotonic() < end, heard.read_text() if heard.exists() else "nothing was heard"
        time.sleep(0.05)  # a file of another process sends no events
    return [json.loads(line) for line in heard.read_text().splitlines()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_trouble_is_told_by_the_next_prx(home: Home, how: signal.Signals) -> None:
    """Prx is killed, or stopped for an upgrade, while its service is down: the next one finds all well, and says so once."""
    hook, heard, port = home.folder / "hook.sh", home.folder / "heard", free_port()
    hook.write_text("#!/bin/sh\ncat >>heard\n")
    hook.chmod(0o755)
    (home.folder / "prx.toml").write_text(
        f'[tunnel]\nlocal_addr = "127.0.0.1:{port}"\non_change = ["./hook.sh"]\n'
        '[tunnel.cloudflare]\ncloudflared_path = "builtin"\n'
    )
    with serving(port):
        prx = home.start("--lab")
        prx.url()
    (trouble,) = _hear(heard, 1)
    assert (trouble["event"], trouble["data"]["verdict"]) == ("trouble", "origin_down")
    prx.send(how)
    prx.end()
    with serving(port):
        prx = home.start("--lab")
        _, recovered = _hear(heard, 2)
        assert (recovered["event"], recovered["data"]["verdicts"]) == ("recovered", ["origin_down"])
        assert recovered["data"]["since"] == trouble["data"]["since"]
        prx.send(signal.SIGTERM)
        assert prx.end() == 0
    assert [item["event"] for item in _hear(heard, 2)] == ["trouble", "recovered"]
