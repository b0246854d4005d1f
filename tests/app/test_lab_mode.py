"""What a start says of the lab that it uses."""

from __future__ import annotations

import pytest

from prx.app.lab_mode import choose_for_lab, explain
from prx.config.schema import CloudflareSettings, Config, TunnelSettings
from prx.secrets.value import Secret


@pytest.mark.parametrize(
    ("hostname", "token", "ignored"),
    [
        ("agent.example.com", "one-of-the-dashboard", True),
        ("agent.prx.localhost", "what-setup-wrote", False),  # it may be the lab's own
        ("agent.example.com", "", False),
    ],
)
def test_a_token_that_the_lab_does_not_use_is_named(hostname: str, token: str, ignored: bool) -> None:
    """Only a token of Cloudflare's is said to be of no use; one that `prx setup --lab` made is not."""
    settings = CloudflareSettings(mode="named", hostname=hostname, token=Secret(token))
    written = Config(tunnels={"web": TunnelSettings(cloudflare=settings)})
    chosen = choose_for_lab(written, lambda name: f"token of {name}")
    assert ("your token is not used" in explain(chosen, written, lab=True)) is ignored
    assert "not used" not in explain(written, written, lab=False)
