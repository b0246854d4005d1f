"""prx beside programs that keep others running: what each costs and how quick it is, in one interleaved run."""
