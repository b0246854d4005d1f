"""`prx lab`: the local edge by itself, and the commands that act on one that runs."""
