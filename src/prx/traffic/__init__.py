"""What passes between connector and service, for those who ask to see it: `prx start --inspect`.

Theory of operation. `relay` stands on loopback between the connector and the service, forwards every byte first, and hands a
copy to a `tee`. It understands nothing of what it forwards, so upgrades, streams, trailers and broken answers pass as they
are. `framing` reads the copy as HTTP/1, tolerantly; what it cannot read is kept as it came, with a note. `ring` keeps the
last exchanges, bounded by count and bytes. If the copy comes faster than it is read, it is dropped and counted; a visitor
never waits for it.

A `gate` and a `catch` do have to understand a request before the service sees it: a relay with one of them holds each
request's head until it is judged (`guard`).

Nothing of this is imported unless a tunnel is inspected.
"""
