"""Adapters for client programs: what to run, what its output means. Pure; see `base`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prx.backends.base import Backend
    from prx.config.schema import TunnelSettings


# imported when one is asked for, so that importing one backend, or `base`, does not load all of them
def _cloudflare(settings: TunnelSettings) -> Backend:
    from prx.backends.cloudflare import CloudflareBackend  # noqa: PLC0415 - see above

    return CloudflareBackend(settings)


def _none(settings: TunnelSettings) -> Backend:
    from prx.backends.none import NoneBackend  # noqa: PLC0415 - see above

    return NoneBackend(settings)


FACTORIES: dict[str, Callable[[TunnelSettings], Backend]] = {"cloudflare": _cloudflare, "none": _none}
"""How each backend is made, by its name in the configuration."""


def create(settings: TunnelSettings) -> Backend:
    """Return the backend that the settings name. Nothing is read, spawned or checked by this."""
    return FACTORIES[settings.backend](settings)
