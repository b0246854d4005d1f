"""A client that behaves like cloudflared as seen from its parent: flags, log, metrics port, signals, exit codes; no tunnel.

Theory of operation. `scripted.write_fake` writes a small executable that runs `client.main` with a scenario. Each run parses
its command line as cloudflared does, records how it was started, connects to the control server of the test (if there is
one), and then does what the scenario and the control commands say. It uses no clock: whatever happens is caused by a
command, a signal, a request or the scenario itself. What runs in the child imports the standard library alone and little of
that (it starts often, and without site-packages). Texts, flags and codes were observed with cloudflared 2026.8.2; the
contract tests hold the fake to them.
"""
