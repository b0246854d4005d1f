"""Cloudflare's client, cloudflared: its command line, its log, its endpoints, its ends."""

from prx.backends.cloudflare.backend import CloudflareBackend

__all__ = ["CloudflareBackend"]
