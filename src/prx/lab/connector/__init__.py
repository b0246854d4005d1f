"""Carry a tunnel with a connector in Python, started with cloudflared's own command line.

`python -m prx.lab.connector tunnel …` takes the place of `cloudflared tunnel …` if no cloudflared is installed
(`cloudflared_path = "builtin"`). Flags, environment, exit codes, log lines and the metrics endpoints are those of
cloudflared 2026.8.2, so that whatever starts and watches one can start and watch the other.
"""
