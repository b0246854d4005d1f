"""How tunnels reach the local edge, and visitors its public side."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prx.backends.base import EdgeSite

if TYPE_CHECKING:
    from prx.edge import Lab


def site_of(lab: Lab) -> EdgeSite:
    """Return the site that `lab` is."""
    public = urlsplit(lab.public)
    return EdgeSite(
        edge_addrs=tuple(lab.edge_addrs),
        ca_file=lab.ca_file,
        quick_service=lab.quick_service,
        public_scheme=public.scheme,
        public_port=public.port or 80,
        doh=(lab.doh,),
        quick_zone="localhost",
        protocols=lab.protocols,
        local=True,
    )
