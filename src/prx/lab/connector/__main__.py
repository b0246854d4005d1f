"""Run the builtin connector: `python -m prx.lab.connector tunnel …`."""

from __future__ import annotations

import sys

from prx.lab.connector.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
