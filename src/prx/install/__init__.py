"""Install cloudflared on this machine: a pinned release, checked against the digest that ships with prx.

`pinned` is what is known of the release, `platform` says which asset this machine needs, `fetch` downloads within bounds,
`local` takes a file instead, `unpack` takes the program out of an archive, `trial` runs it for its version, `programs` is the
folder that it ends in, and `cloudflared` puts these together. Nothing here is ever done unasked, and nothing is run whose
digest has not been verified.
"""
