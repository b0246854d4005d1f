"""The pure core of prx: standard library only, no clock, no I/O, no asyncio.

`evidence` (what was seen) goes through `diagnosis` (who is at fault) into `machine` (what is done about it); the machine's
effects include `events`, and `status` is a fold over those events. `backoff` is the schedule between restarts.
"""
