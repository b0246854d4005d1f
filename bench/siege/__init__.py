"""Hostile clients of the dashboard, and what they cost the supervision of a tunnel."""
