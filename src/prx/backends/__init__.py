"""Adapters for client programs: what to run, what its output means. Pure; see `base`."""
