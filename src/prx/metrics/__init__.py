"""What Prometheus is given: the events folded into counters, and everything written in its text format.

`table` declares every metric; `collection` counts; `exposition` writes; `readiness` answers `/readyz`. All of it is pure: the
listener is `prx.app.probes_server`.
"""
