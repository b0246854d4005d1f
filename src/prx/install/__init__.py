"""Install cloudflared on this machine: a pinned release, checked against the digest that ships with prx.

`table` is what is known of the release, `machine` says which asset this machine needs, `fetch` downloads within bounds,
`unpack` takes the program out of an archive, `programs` is the folder that it ends in, and `cloudflared` puts these together.
Nothing here is ever done unasked, and nothing that was downloaded is run.
"""
