"""Hand one text to apprise, in a process of its own: `python -m prx.runtime.hooks.send_apprise FILE`.

FILE holds JSON: `address` and `text`. Exit code 0: it was handed over. Nothing of the address is ever printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(path: str) -> int:
    """Send, and return the exit code; one line on stdout says what went wrong."""
    import apprise  # noqa: PLC0415 - an extra, and large: only this process ever has it

    job = json.loads(Path(path).read_bytes())
    sender = apprise.Apprise()
    if not sender.add(job["address"]):
        sys.stdout.write("apprise does not understand the address\n")
        return 1
    if not sender.notify(body=job["text"], title="prx"):
        sys.stdout.write("the service did not take it\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
