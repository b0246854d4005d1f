"""The command line: `prx`, one module per command, imported when the command runs."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` where `arguments` is None) and return its exit code.

    0 done, or stopped as asked · 1 failed · 2 usage or configuration · 3 permanent, or not running · 4 not ready in time, or
    unknown · 128 + n ended by a second signal n (a second Ctrl-C: 130).
    """
    from prx.cli.ending import run
    from prx.cli.root import cli

    return run(cli, arguments)
