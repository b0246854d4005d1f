"""`make exchanges`: a hundred thousand exchanges with services that misbehave, over either protocol."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.lab.connector.exchanges.play import play


def main() -> int:
    """Play, print what came of it, and fail if a byte went astray."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.connector.exchanges", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="exchanges in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="seed of the game; printed if it is chosen here")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else time.time_ns() % 1_000_000
    leaks = 0
    for protocol in ("http2", "quic"):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            tally = asyncio.run(play(Path(folder), protocol, seed, arguments.count // 2))
        words = (
            f"{protocol}: seed {seed}, {tally.exchanges} exchanges in {time.monotonic() - began:.0f} s, {tally.connections} "
            f"connections to services, {len(tally.leaks)} leaks; {dict(tally.outcomes.most_common())}\n"
        )
        sys.stdout.write(words + "".join(f"{leak}\n" for leak in tally.leaks[:20]))
        sys.stdout.flush()
        leaks += len(tally.leaks)
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
