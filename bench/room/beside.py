"""Run `prx` beside a lab that is a process of its own: `python -m bench.room.beside FACTS NETWORK ARGUMENT…`.

FACTS is the line of `prx lab --json`. If this prx can join a running lab by itself (its help names PRX_LAB_CONTROL) that is
used; else, and for `apart`, the edge that it takes for Cloudflare's is replaced by the lab, and nothing else: it keeps the
token of its configuration. NETWORK is `real` in a namespace of the scene's own, where "is there a network?" is answered by
looking, as for Cloudflare's edge, and not by "a lab is local"; else `local`. Both words may stand there: `real,apart`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SESSIONS = ("prx.app.session",)
SUPERVISORS = ("prx.runtime.supervisor",)


def main() -> int:
    """Run prx with the remaining arguments."""
    facts, network, *arguments = sys.argv[1:]
    ways = network.split(",")
    if "real" in ways:
        look_at_the_network()
    found = json.loads(facts)
    if joins_by_itself() and "apart" not in ways:
        os.environ["PRX_LAB_CONTROL"] = found["control"]
        arguments = [arguments[0], "--lab", *arguments[1:]]
    else:
        stand_in(found)
    from prx.cli import main as prx

    sys.argv = ["prx", *arguments]
    return prx()  # type: ignore[func-returns-value,no-any-return]


def joins_by_itself() -> bool:
    """Return whether `prx start` knows how to join a running lab."""
    from prx.cli.start import start

    return any("PRX_LAB_CONTROL" in str(getattr(option, "help", "")) for option in start.params)


def stand_in(facts: dict[str, Any]) -> None:
    """Make the lab the edge that prx connects to."""
    from prx.backends.base import EdgeSite

    public = urlsplit(facts["public"])
    site = EdgeSite(
        edge_addrs=tuple(facts["edge"]),
        ca_file=Path(facts["ca"]),
        quick_service=facts["quick_service"],
        public_scheme=public.scheme,
        public_port=public.port or 80,
        doh=(facts["control"] + "/dns-query",),
        protocols=("quic", "http2"),
        local=True,
    )
    replace(SESSIONS, "CLOUDFLARE", site)


def look_at_the_network() -> None:
    """Have prx check the network although the edge is local."""
    supervisor = importlib.import_module(SUPERVISORS[0])
    replace(SUPERVISORS, "LocalNetwork", supervisor.SystemNetwork)


def replace(modules: tuple[str, ...], name: str, value: object) -> None:
    """Set a name of the first module that has it; RuntimeError if none has."""
    for module in modules:
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        if hasattr(found, name):
            setattr(found, name, value)
            return
    raise RuntimeError(f"none of {', '.join(modules)} has {name}; bench.room.beside must follow the code")


if __name__ == "__main__":
    sys.exit(main())
