"""prx puts a local service on the Internet through Cloudflare Tunnel and keeps it there."""

__version__ = "0.1.0"
