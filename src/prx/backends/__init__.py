"""Adapters for client programs: what to run, what its output means. Pure; see `base`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prx.backends.base import Backend
    from prx.config.schema import TunnelSettings


def create(settings: TunnelSettings) -> Backend:
    """Return the backend that the settings name. Nothing is read, spawned or checked by this."""
    # imported here, so that importing one backend, or `base`, does not load all of them
    match settings.backend:
        case "cloudflare":
            from prx.backends.cloudflare import CloudflareBackend  # noqa: PLC0415 - see above

            return CloudflareBackend(settings)
        case "none":
            from prx.backends.none import NoneBackend  # noqa: PLC0415 - see above

            return NoneBackend(settings)
