"""How other processes talk to a running prx: the control socket (`server`, `client`) and who it belongs to (`instance`)."""
