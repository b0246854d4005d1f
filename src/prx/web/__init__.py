"""The dashboard, a process of its own: a client of the control sockets of every prx of this user.

`hub` follows each prx over its socket (`link`) and keeps what is known now, and the last events; `pages` and `api` render it;
`guard` decides who may ask. What it does, how slow it is and whether it lives changes nothing for a tunnel: it asks a few
small questions a second at most, and the control server drops it as it drops every slow client.
"""
