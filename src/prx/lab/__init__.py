"""The lab: an edge on this machine that cloudflared connects to as if it were Cloudflare's.

    async with Lab.start(LabConfig()) as lab:
        ...                                       # everything listens; leaving the block closes all of it

What a lab has, all on loopback:

* `lab.edge_addrs`: tuple of "HOST:PORT", one slot per connection (`cloudflared tunnel --edge ADDR --edge ADDR …`),
  each for HTTP/2 over TCP and for QUIC over UDP; `lab.protocols` is ("quic", "http2")
* `lab.quick_service`: "http://127.0.0.1:PORT" for `--quick-service`; `lab.ca_file`: Path for `--cacert`
* `lab.public`: "http://127.0.0.1:PORT", the address for visitors (the Host header names the tunnel, names end in
  `.localhost`); `lab.public_https` the same over TLS; `lab.url(hostname)` returns "http://HOSTNAME:PORT"
* `lab.control`: "http://127.0.0.1:PORT" (JSON), `lab.doh`: "http://127.0.0.1:PORT/dns-query" (RFC 8484)

What one does with it:

* `lab.token(hostname) -> str`: create a named tunnel for `hostname` (a bare name gets `.localhost`), or find it again
* `lab.tunnels() -> tuple[TunnelState, …]`, each with its `connections: tuple[ConnectionState, …]`; `lab.state() -> dict`
* `await lab.push(hostname, config) -> tuple[PushResult, …]`: remote configuration, one result per live connection
* `lab.protect(hostname, AccessFront(...)) -> Protected`, `lab.unprotect(hostname)`: an Access front, see
  `prx.lab.edge.public.access`; `lab.login(hostname, email) -> str`: the token of a person who has logged in;
  `lab.rotate_keys()`
* `lab.quick_assertion(hostname, state, email) -> str`: what the login of a protected quick tunnel returns, see
  `prx.lab.edge.public.login`
* `lab.inject(fault)`, `lab.clear(FaultClass)` / `lab.clear()`: see `prx.lab.faults`
* `await lab.play(text)`, `lab.begin(text)`: a script of faults, see `prx.lab.edge.faults.script`
* `lab.api`: "http://127.0.0.1:PORT/client/v4", a stand-in of Cloudflare's API on the same state; `lab.api_token`,
  `lab.cert_pem`, `lab.account` (tokens, habits, journal, `exported()`), see `prx.lab.edge.api`
* `LabConfig(limits="free" | "none" | Limits(…))`: what visitors are refused, see `prx.lab.edge.limits`
* `lab.management_token(hostname, resource)`: a token for the management host, see `prx.lab.edge.public.management`
* `LabConfig(forget_after=…)`: after how many seconds without a connection a quick tunnel is deleted, see
  `prx.lab.edge.forgetting`
* `LabConfig(on_event=…)`: called with the frozen dataclasses of `prx.lab.events`, synchronously, on the event loop
* `await lab.wait_for(lambda lab: …)`: wait until something that events announce is true (no polling)

Control endpoint: GET /state · POST /token {"hostname"} · POST /management-token {"hostname","resource"} · POST /push
{"hostname","config"} · POST /protect {"hostname","client_id","client_secret","deny","team","aud"} · POST /unprotect
{"hostname"} · POST /login {"hostname","email"} · POST /rotate-keys · GET /cdn-cgi/access/certs · GET /faults · POST /faults
{"fault":"RejectRegistration","kind":"permanent"} or {"script":"refuse for 10s"} · DELETE /faults[?fault=NAME] · GET and POST
/dns-query · below /api/ what `prx.lab.edge.api.steering` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prx.front_door import late

if TYPE_CHECKING:
    from prx.lab import events, faults
    from prx.lab.edge.config import LabConfig
    from prx.lab.edge.lab import Lab
    from prx.lab.edge.limits import Limits
    from prx.lab.edge.public.access import AccessFront
    from prx.lab.edge.state import ConnectionState, Protected, PushResult, TunnelState

__all__ = [
    "AccessFront", "ConnectionState", "Lab", "LabConfig", "Limits", "Protected", "PushResult", "TunnelState",
    "events", "faults",
]  # fmt: skip

if not TYPE_CHECKING:  # the connector and the protocol are started without the edge
    __getattr__ = late(
        __name__,
        {
            "AccessFront": "prx.lab.edge.public.access",
            "ConnectionState": "prx.lab.edge.state",
            "Lab": "prx.lab.edge.lab",
            "LabConfig": "prx.lab.edge.config",
            "Limits": "prx.lab.edge.limits",
            "Protected": "prx.lab.edge.state",
            "PushResult": "prx.lab.edge.state",
            "TunnelState": "prx.lab.edge.state",
            "events": "",
            "faults": "",
        },
    )
