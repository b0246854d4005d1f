"""prx puts a local service on the Internet through Cloudflare Tunnel and keeps it there."""

from __future__ import annotations

__version__ = "0.1.0"
