"""What happened to the tunnels, kept over restarts: events on disk, in bounded files, and the report that is made from them.

`recorder` takes events on the loop and `segments` writes them in a thread; `reader` yields them again, whatever a crash or a
full disk left; `report` folds them into what a person asks: how long it was reachable, what was lost by which cause.
"""
