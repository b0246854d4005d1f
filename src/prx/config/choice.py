"""Which tunnels of a configuration are wanted, and what one that no file declares is called."""

from __future__ import annotations

from dataclasses import replace

from prx.config.load import Loaded
from prx.config.schema import DEFAULT_TUNNEL
from prx.core.errors import UsageError, unknown_tunnel


def chosen(loaded: Loaded, *, only: tuple[str, ...] = (), name: str = "") -> Loaded:
    """Return the configuration with the tunnels `only` alone, or with the one of no file called `name`; else UsageError."""
    if only:
        return _alone(loaded, only)
    return _called(loaded, name) if name else loaded


def named(loaded: Loaded, name: str = "") -> Loaded:
    """Return the configuration with the tunnel that no file declares called `name`, or else by the port that it serves."""
    if loaded.declares or DEFAULT_TUNNEL not in loaded.config.tunnels:
        return loaded
    return _renamed(loaded, name or str(loaded.config.tunnels[DEFAULT_TUNNEL].origin.port))


def name_kept(loaded: Loaded, name: str) -> Loaded:
    """Return the configuration with its only tunnel called `name`, as before `[tunnel]` declared it.

    It is the same tunnel: under another name it would be another one, and a quick tunnel would lose its URL.
    """
    return _renamed(loaded, name) if list(loaded.config.tunnels) == [DEFAULT_TUNNEL] else loaded


def _alone(loaded: Loaded, only: tuple[str, ...]) -> Loaded:
    tunnels = loaded.config.tunnels
    for name in only:
        if name not in tunnels:
            raise unknown_tunnel(name, tunnels, among=f"declared in {loaded.path}")
    wanted = {name: settings for name, settings in tunnels.items() if name in only}
    return replace(loaded, config=replace(loaded.config, tunnels=wanted))


def _called(loaded: Loaded, name: str) -> Loaded:
    if loaded.declares:
        raise UsageError(
            f"--name is for a tunnel that no file declares, and {loaded.path} declares some",
            hint=f"name it there: [tunnels.{name}]",
        )
    return _renamed(loaded, name)


def _renamed(loaded: Loaded, name: str) -> Loaded:
    if name == DEFAULT_TUNNEL:
        return loaded
    prefix = "tunnel."
    origins = {
        f"tunnels.{name}.{key.removeprefix(prefix)}" if key.startswith(prefix) else key: origin
        for key, origin in loaded.origins.items()
    }
    tunnels = {name: loaded.config.tunnels[DEFAULT_TUNNEL]}
    return replace(loaded, config=replace(loaded.config, tunnels=tunnels), origins=origins)
