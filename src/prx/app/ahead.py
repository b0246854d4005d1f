"""What is started before it is needed, so that it is done while prx loads the modules that supervise tunnels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from prx.backends import create
from prx.config.schema import Config
from prx.core.errors import PrxError
from prx.install.programs import find_client
from prx.runtime.host.clock import Clock
from prx.runtime.persistent_state import STATE_FILE, PersistentState
from prx.runtime.process.version import ask_ahead


async def ask_for_version(config: Config, environ: Mapping[str, str], data_dir: Path, clock: Clock) -> None:
    """Ask the program of the first tunnel for its version, unless it is known; most tunnels have the same one.

    To be followed by `prx.runtime.process.version.forget_ahead`.
    """
    with suppress(PrxError):  # what is wrong with the settings is said at the start of the tunnel
        client = create(next(iter(config.tunnels.values()))).client
        if client is not None:
            name, *arguments = client.program()
            await ask_ahead((find_client(name, environ) or name, *arguments), PersistentState(data_dir / STATE_FILE, clock))
