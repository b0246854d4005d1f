"""Towards the edge: connections, their registration, and keeping them up."""
