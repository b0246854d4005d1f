"""What tests of the runtime's parts work with: the context of a prx without tunnels."""

from __future__ import annotations

from pathlib import Path

from prx.backends.base import CLOUDFLARE
from prx.runtime.bus import Bus
from prx.runtime.context import Shared
from prx.runtime.delivery import Ways
from prx.runtime.host.clock import Clock
from prx.runtime.host.network import LocalNetwork
from prx.runtime.persistent_state import PersistentState
from prx.runtime.probes.edge import EdgeWatch
from prx.runtime.probes.resolver import Resolver
from prx.runtime.process.orphans import ChildLedger
from prx.runtime.process.spawn_limit import SpawnRateLimiter


def shared(folder: Path, clock: Clock) -> Shared:
    """Return what the tunnels of a prx in `folder` share."""
    return Shared(
        site=CLOUDFLARE,
        clock=clock,
        network=LocalNetwork(),
        bus=Bus(clock),
        state=PersistentState(folder / "state.json", clock),
        ledger=ChildLedger(folder / "children.json"),
        edge=EdgeWatch(CLOUDFLARE, Resolver((), clock=clock), clock),
        ways=Ways(),
        private=folder,
        inherited={},
        jitter=lambda: 0.0,
        spawn_limiter=SpawnRateLimiter(clock),
        recheck=lambda: None,
        service_token=None,
    )
