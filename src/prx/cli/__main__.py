"""`python -m prx`: the same as `prx`."""

import sys

from prx.cli import main

sys.exit(main())
