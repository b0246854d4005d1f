"""The backend without a child: the public URL is kept up by others, and prx only watches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prx.backends.base import Backend, EdgeSite, service_keys
from prx.core.errors import PermanentError

if TYPE_CHECKING:
    from prx.config.schema import TunnelSettings


class NoneBackend(Backend):
    """A `Backend` that has a URL and no client. The URL may well be one of Cloudflare's, so its edge may be asked."""

    name = "none"
    mode = "none"
    has_known_edge = True

    def __init__(self, settings: TunnelSettings) -> None:
        self.settings = settings

    def check(self) -> None:
        """Raise PermanentError if there is no URL to watch."""
        if not self.settings.public_url:
            raise PermanentError(
                'backend = "none" has no URL to watch',
                hint="set PRX_TUNNEL_URL or public_url to the URL that another program keeps up",
            )

    def needs_new_child(self, old: Backend) -> bool:
        """Return whether what is watched is another thing, so that the watch begins again."""
        return not isinstance(old, NoneBackend) or _keys(old.settings) != _keys(self.settings)

    def fixed_url(self, site: EdgeSite) -> str:
        """Return the URL that is watched, whatever the site."""
        return self.settings.public_url.rstrip("/")


def _keys(settings: TunnelSettings) -> tuple[object, ...]:
    return (settings.public_url, *service_keys(settings))
