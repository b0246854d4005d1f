"""Run the builtin connector: `python -m prx.lab.connector tunnel …`."""

from __future__ import annotations

import sys

from prx.lab.connector.app import main
from prx.lab.connector.ending import leave

if __name__ == "__main__":
    leave(main(sys.argv[1:], leave=leave))
