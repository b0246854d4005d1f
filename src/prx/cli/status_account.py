"""What Cloudflare's API adds to `prx status`, where CLOUDFLARE_API_TOKEN is set: imported only then."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prx.cloudflare_api.credentials import api_of
from prx.cloudflare_api.edge_view import EdgeView, arrival, read_edge_view, words
from prx.cloudflare_api.journal import Journal
from prx.config.paths import data_dir
from prx.core.errors import PrxError
from prx.core.tunnel_token import TokenError, TunnelToken
from prx.ui.errors import print_note, without_secrets


def read_account(tunnel: dict[str, Any], config: str) -> EdgeView | None:
    """Return what Cloudflare says of a tunnel of `prx status`; None, with a word on stderr, if that is unknown."""
    if tunnel["backend"] != "cloudflare" or tunnel["mode"] != "named":
        return None
    try:
        place = next(_places(tunnel, config), None)
        if place is None:
            print_note(f"note: {tunnel['name']}: which tunnel of the account it is, is not known here")
            return None
        return read_edge_view(os.environ, *place)
    except PrxError as error:
        print_note(without_secrets(f"note: {tunnel['name']}: Cloudflare could not be asked: {error.message}"))
        return None


def lines(tunnel: dict[str, Any], seen: EdgeView) -> Iterator[str]:
    """Yield what there is to tell people."""
    others = len(seen.connectors) - len(tunnel["connectors"])
    more = f", {others} more than this prx runs" if others > 0 else ""
    listed = "; ".join(map(words, seen.connectors)) or "none"
    yield f"  connectors on this token: {len(seen.connectors)}{more} ({listed})"
    if said := arrival(seen):
        yield f"  {said}"


def _places(tunnel: dict[str, Any], config: str) -> Iterator[tuple[str, str]]:
    """Yield account and id of the tunnel: as `prx setup` wrote them down, or from the token in the configuration."""
    host = urlsplit(tunnel["url"] or "").hostname or ""
    api = api_of(os.environ)
    for memory in Journal(data_dir()).all():
        if memory.hostname == host and memory.tunnel_id and memory.api == api:
            yield memory.account_id, memory.tunnel_id
    if config:
        from prx.app.load_config import load_configuration

        settings = load_configuration(Path(config), os.environ).config.tunnels.get(tunnel["name"])
        try:
            if settings is not None:
                token = TunnelToken.decode(settings.cloudflare.token.reveal())
                yield token.account_tag, str(token.tunnel_id)
        except TokenError:
            return
