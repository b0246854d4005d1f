"""Outages, side by side: what prx makes of them, and what cloudflared alone makes of the same ones at the same time."""
