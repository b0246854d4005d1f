"""How tunnels reach the local edge, and visitors its public side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prx.backends.base import EdgeSite
from prx.cli.labclient import ask
from prx.core.errors import PrxError

if TYPE_CHECKING:
    from prx.edge import Lab


class JoinedLab:
    """A lab of another process, reached by its control URL."""

    def __init__(self, control: str) -> None:
        self.control = control
        self._tokens: dict[str, str] = {}

    def token(self, hostname: str) -> str:
        """Return the token of a named tunnel, creating it where it does not exist; PrxError where the lab is gone."""
        if hostname not in self._tokens:
            self._tokens[hostname] = str(ask(self.control, "POST", "/token", {"hostname": hostname})["token"])
        return self._tokens[hostname]

    def site(self) -> EdgeSite:
        """Return the site that the lab is; PrxError where none answers."""
        return _site(ask(self.control, "GET", "/state"))


def _site(state: dict[str, Any]) -> EdgeSite:
    try:
        public, ca_file = urlsplit(state["public"]), Path(state["ca"])
        found = EdgeSite(
            edge_addrs=tuple(state["edge"]),
            ca_file=ca_file,
            quick_service=state["quick_service"],
            public_scheme=public.scheme,
            public_port=public.port or 80,
            doh=(state["doh"],),
            quick_zone="localhost",
            local=True,
        )
    except (KeyError, TypeError, ValueError):
        raise PrxError("what answers is no lab: it does not say where its edge is") from None
    if not ca_file.is_file():
        raise PrxError(
            f"the lab's CA cannot be read: no file {ca_file}", hint="join it as the user that runs it, on this machine"
        )
    return found


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
