"""`python -m prx`: the same as `prx`."""

from __future__ import annotations

import sys

from prx.cli import main

sys.exit(main())
