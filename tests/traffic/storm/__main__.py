"""`python -m tests.traffic.storm [COUNT] [KILLS] [SEED]`: 10,000 webhooks, kept and handed over; ends with 1 if one is lost."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.traffic.storm.play import timed, told


def main() -> int:
    """Play one storm and print what came of it."""
    count, kills, seed = (int(word) for word in [*sys.argv[1:], *("10000", "5", "1")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory(prefix="prx-catch-") as folder:
        storm, seconds = timed(Path(folder), count=count, senders=8, kills=kills, seed=seed)
        sys.stdout.write(f"{told(storm, seconds)}\n")
        faults = storm.faults()
    for line in faults[:20]:
        sys.stdout.write(f"  {line}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
