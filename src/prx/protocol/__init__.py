"""What an edge and a connector share: RPC, registration, tokens, header codecs, one connection over HTTP/2 or QUIC.

* `prx.protocol.registration`: `RegistrationServer` (edge), `RegistrationClient` (connector), `RegisterRequest`,
  `Registered`, `Rejected`; both sides are sans-io: `feed(bytes)` gives events, calls and answers give bytes, and
  `data_to_send()` must be sent after every `feed`.
* `prx.protocol.rpc`: the Cap'n Proto endpoint below it. `prx.protocol.schema` loads the schemas.
* `prx.protocol.tokens.TunnelToken`, `prx.protocol.headers`.
* `prx.protocol.h2session.H2Session`: one HTTP/2 connection in either role.
* `prx.protocol.quicsession.QuicSession`: one QUIC connection in either role, with its `QuicStream`s; made by
  `prx.protocol.quicclient.dial` (connector) or `prx.protocol.quiclistener.QuicListener` (edge). `prx.protocol.quicwire`
  has what streams begin with, `prx.protocol.quicpush` the RPC that pushes a configuration.
* `prx.protocol.errors`: `ProtocolError` and below.
"""
