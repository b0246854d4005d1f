"""Cloudflare's client, cloudflared: its command line, its log, its endpoints, its ends."""

from __future__ import annotations

from prx.backends.cloudflare.backend import CloudflareBackend

__all__ = ["CloudflareBackend"]
