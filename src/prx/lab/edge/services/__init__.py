"""Loopback services of the lab: control, DNS over HTTPS, quick tunnels."""
