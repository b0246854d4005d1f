"""Run the builtin connector: `python -m prx.connector tunnel …`."""

import sys

from prx.connector.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
