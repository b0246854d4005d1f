"""What must hold between keys, said by the check of the whole."""

from __future__ import annotations

from typing import Any

import pytest

from prx.config.cross import mistakes
from prx.config.schema import CloudflareSettings, ConfigFile, TunnelSettings
from prx.secrets.value import Secret

NAMED: dict[str, Any] = {"mode": "named", "token": Secret("token"), "hostname": "app.example.com"}


def found(**keys: Any) -> list[tuple[str, str]]:
    """Return key and text of each mistake in `[tunnel.cloudflare]`."""
    tunnel = TunnelSettings(cloudflare=CloudflareSettings(**keys))
    return [(str(finding.key[-1]), finding.text) for finding in mistakes(ConfigFile(tunnel=tunnel))]


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ({"replicas": 2}, "replicas", 'expected 1, as mode is "quick"'),
        ({**NAMED, "replicas": 2, "metrics_port": 9000}, "metrics_port", "found 9000, expected 0, as there are 2 replicas"),
        ({**NAMED, "replicas": 2, "replicas_min": 3}, "replicas_min", "found 3, expected at most 2"),
        ({**NAMED, "protocol": "quic", "replica_protocols": ("http2",)}, "protocol", 'found "quic", expected "auto"'),
    ],
    ids=["quick", "one port", "more than all", "two choices"],
)
def test_replicas_that_cannot_be(keys: dict[str, Any], key: str, words: str) -> None:
    """Connectors that could not run side by side are refused, with the key, what was found and what is expected."""
    assert [(name, words in text) for name, text in found(**keys)] == [(key, True)]


@pytest.mark.parametrize(
    "keys", [{**NAMED, "replicas": 25, "replicas_min": 25}, {"replicas": 1}, {**NAMED, "metrics_port": 9000}]
)
def test_replicas_that_can_be(keys: dict[str, Any]) -> None:
    """The most that Cloudflare takes, one of a quick tunnel, and one with a port of its own."""
    assert found(**keys) == []
