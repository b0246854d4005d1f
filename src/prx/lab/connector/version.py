"""Name the version that this connector stands in for, and itself."""

from __future__ import annotations

from typing import Final

CLOUDFLARED_VERSION: Final = "2026.8.2"
"""The release whose command line, log lines and endpoints are imitated; all facts were observed with it."""

BUILD: Final = "prx builtin connector"
"""What stands in the place of cloudflared's build time or checksum."""

CLIENT_VERSION: Final = f"{CLOUDFLARED_VERSION}+prx.builtin"
"""What is reported to the edge: the release spoken, and plainly that this is another program."""

NOTICE: Final = (
    f"This is the prx builtin connector, standing in for cloudflared {CLOUDFLARED_VERSION}. "
    "It is meant for the lab until it is proven on the public edge."
)
"""The first line of every log."""
