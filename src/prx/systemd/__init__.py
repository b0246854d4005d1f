"""Run prx as a systemd service.

`unit` writes the unit file, `place` puts it where systemd looks, `tools` asks systemd's own programs.
"""
