"""How faults act: on the wire, by script, as text. The faults themselves are in `prx.lab.faults`."""
