"""The public side: visitors, what they are shown, and how their requests reach a tunnel."""
