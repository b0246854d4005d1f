"""What an edge and a connector share: RPC, registration, tokens, header codecs, one HTTP/2 connection.

* `prx.protocol.registration`: `RegistrationServer` (edge), `RegistrationClient` (connector), `RegisterRequest`,
  `Registered`, `Rejected`; both sides are sans-io: `feed(bytes)` gives events, calls and answers give bytes, and
  `data_to_send()` must be sent after every `feed`.
* `prx.protocol.rpc`: the Cap'n Proto endpoint below it. `prx.protocol.schema` loads the schemas.
* `prx.protocol.tokens.TunnelToken`, `prx.protocol.headers`.
* `prx.protocol.h2session.H2Session`: one HTTP/2 connection in either role.
* `prx.protocol.errors`: `ProtocolError` and below.
"""
