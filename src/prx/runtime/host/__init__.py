"""This machine: its clock, network, files of state, ports, locks, and its service manager."""
