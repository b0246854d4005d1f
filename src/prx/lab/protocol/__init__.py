"""What an edge and a connector share: RPC, registration, tokens, header codecs, one connection over HTTP/2 or QUIC.

* `prx.lab.protocol.rpc.registration`: `RegistrationServer` (edge), `RegistrationClient` (connector), `RegisterRequest`,
  `Registered`, `Rejected`; both sides are sans-io: `feed(bytes)` returns events, calls and answers return bytes, and
  `data_to_send()` must be sent after every `feed`.
* `prx.lab.protocol.rpc.endpoint`: the Cap'n Proto endpoint below it. `prx.lab.protocol.rpc.schema` loads the schemas.
* `prx.core.tunnel_token.TunnelToken`, `prx.lab.protocol.headers`.
* `prx.lab.protocol.h2.session.H2Session`: one HTTP/2 connection in either role.
* `prx.lab.protocol.quic.session.QuicSession`: one QUIC connection in either role, with its `QuicStream`s; made by
  `prx.lab.protocol.quic.client.dial` (connector) or `prx.lab.protocol.quic.listener.QuicListener` (edge).
  `prx.lab.protocol.quic.preamble` has what streams begin with, `prx.lab.protocol.rpc.push` the RPC that pushes a configuration.
* `prx.lab.protocol.errors`: `ProtocolError` and below.
"""
