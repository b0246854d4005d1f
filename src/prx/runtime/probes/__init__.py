"""The probes of service, edge and public URL: each is bounded in time and bytes, and returns facts from `prx.core.evidence`.

`transport` opens connections and `http` has one exchange on them; on these stand `origin` (the local service),
`public` (the public URL), `endpoints` (the child's own loopback server) and `doh` (public DNS). `answers` reads what pages say.
"""
