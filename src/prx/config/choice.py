"""Which tunnels of a configuration are wanted, and what the one without a file is called."""

from __future__ import annotations

from dataclasses import replace

from prx.config.load import Loaded
from prx.config.schema import DEFAULT_TUNNEL
from prx.core.errors import UsageError


def chosen(loaded: Loaded, *, only: str = "", name: str = "") -> Loaded:
    """Return the configuration with the tunnel `only` alone, or with the one of no file called `name`; else UsageError."""
    if only:
        return _alone(loaded, only)
    return _called(loaded, name) if name else loaded


def _alone(loaded: Loaded, only: str) -> Loaded:
    tunnels = loaded.config.tunnels
    if only not in tunnels:
        raise UsageError(f"{loaded.path} declares no tunnel {only!r}", hint=f"it declares: {', '.join(tunnels)}")
    return replace(loaded, config=replace(loaded.config, tunnels={only: tunnels[only]}))


def _called(loaded: Loaded, name: str) -> Loaded:
    if loaded.path is not None:
        raise UsageError(
            f"--name is for a tunnel without a file, and {loaded.path} is used", hint=f"name it there: [tunnels.{name}]"
        )
    prefix = "tunnel."
    origins = {
        f"tunnels.{name}.{key.removeprefix(prefix)}" if key.startswith(prefix) else key: origin
        for key, origin in loaded.origins.items()
    }
    tunnels = {name: loaded.config.tunnels[DEFAULT_TUNNEL]}
    return replace(loaded, config=replace(loaded.config, tunnels=tunnels), origins=origins)
