"""`on_change` of a real prx, which ends because nothing can run."""

from __future__ import annotations

import json

from tests.cli.home import Home
from tests.support.waits import free_port


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
