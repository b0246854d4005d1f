"""Which settings a running child cannot take over."""

from __future__ import annotations

from typing import Any

import pytest

from prx.config.schema import TunnelSettings
from prx.runtime.tunnel import Tunnel


@pytest.mark.parametrize(
    ("change", "concerns_the_child"),
    [
        ({"origin_tls_verify": "true"}, True),
        ({"origin_ca": "/ca.pem"}, True),
        ({"origin_server_name": "app.test"}, True),
        ({"local_addr": "https://127.0.0.1:8443"}, True),
        ({"health_check_timeout_secs": 20}, False),
        ({"health_check_path": "/health"}, False),
    ],
)
def test_a_reload_replaces_the_child_only_for_its_own_settings(change: dict[str, Any], concerns_the_child: bool) -> None:
    """How the service is trusted is on the child's command line; how it is watched is not, and costs no URL."""
    before, after = Tunnel._child_keys(TunnelSettings()), Tunnel._child_keys(TunnelSettings(**change))
    assert (before != after) is concerns_the_child
