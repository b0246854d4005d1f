"""A relay in a process of its own, whose memory is its own: `python -m bench.relay.child PORT`; it prints its port."""

from __future__ import annotations

import asyncio
import resource
import sys

from prx.runtime.host.clock import SystemClock
from prx.traffic.relay import Relay, Target
from prx.traffic.ring import Ring
from prx.traffic.tee import Copier


async def main(port: int) -> None:
    """Relay to `port` until killed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    relay = Relay(Target("127.0.0.1", port), Copier(Ring(500, 64_000_000), "bench", SystemClock().wall))
    await relay.start()
    print(relay.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
