"""What a connector speaks with the edge: a reload leaves it, a restart begins with the best one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runtime.contexts import shared

from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core.verdicts import Action, Diagnosis, Verdict
from prx.runtime.connector import Connector
from prx.runtime.tunnel import Tunnel
from prx.testing.clock import ManualClock

BLOCKED = Diagnosis(Verdict.UDP_BLOCKED, "QUIC does not get through", remedy=Action.SWITCH_PROTOCOL, connected=False)


def reload(tunnel: Tunnel, _: Connector) -> None:
    """Reload, and nothing has changed."""
    tunnel.reload(tunnel.context.settings)


def change_little(tunnel: Tunnel, _: Connector) -> None:
    """Change what a connector can go on with."""
    tunnel.reload(replace(tunnel.context.settings, health_check_interval_secs=20.0))


def keep(tunnel: Tunnel, connector: Connector) -> None:
    """Have it go on as it is until another one has taken its place."""
    connector.renew(tunnel.context.of_connector(0), kept_for="the configuration changed")


def take_back(tunnel: Tunnel, connector: Connector) -> None:
    """The same, and think better of it."""
    keep(tunnel, connector)
    connector.take_back("the configuration changed")
    connector.take(tunnel.context.settings, asked=True, changed=True)


def renew(tunnel: Tunnel, connector: Connector) -> None:
    """Have it started again as the settings are."""
    connector.renew(tunnel.context.of_connector(0))


@pytest.mark.parametrize(
    ("act", "speaks"), [(reload, "http2"), (change_little, "http2"), (keep, "http2"), (take_back, "http2"), (renew, "quic")]
)
def test_a_connector_that_goes_on_speaks_what_it_spoke(
    tmp_path: Path, manual_clock: ManualClock, act: Callable[[Tunnel, Connector], None], speaks: str
) -> None:
    """It is known to have fallen back, so that QUIC is tried again later, and its next child does not try it before that."""
    tunnel = Tunnel(
        "web",
        TunnelSettings(cloudflare=CloudflareSettings(mode="named", hostname="app.localhost")),
        shared(tmp_path, manual_clock),
    )
    (connector,) = tunnel.connectors
    assert connector.machine.protocol == "quic"
    connector.machine._protocol.take_other(BLOCKED)
    act(tunnel, connector)
    assert connector.machine.protocol == speaks
    assert tunnel._fallen_back._is_one(connector) is (speaks == "http2")
