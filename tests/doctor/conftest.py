"""Servers, and a scene in which everything leads to this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prx.backends.base import EdgeSite
from prx.config.schema import Config, TunnelSettings
from prx.core.evidence import Dns, DnsState
from prx.doctor.context import Context
from prx.doctor.finding import Finding

SceneOf = Callable[..., Context]


async def unknown(_: str) -> Dns:
    """Know no name, as a machine without DNS."""
    return Dns(DnsState.UNKNOWN)


@pytest.fixture
def scene_of(tmp_path: Path) -> SceneOf:
    """Return a maker of scenes: an empty system, no way out, and what the test adds."""

    def make(*, environ: dict[str, str] | None = None, site: EdgeSite | None = None, **settings: Any) -> Context:
        config = Config(tunnels={"web": TunnelSettings(**settings)})
        nobody = EdgeSite(doh=("http://127.0.0.1:9/dns-query",), public_scheme="http", public_port=9)
        return Context(config, {"HOME": "/home/me"} | (environ or {}), site or nobody, root=tmp_path, by_system=unknown)

    return make


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    """Return the findings by their check; there must be one of each."""
    found = {finding.check: finding for finding in findings}
    assert len(found) == len(findings)
    return found
