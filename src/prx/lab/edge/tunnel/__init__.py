"""The side of the connectors: their listeners, over HTTP/2 and QUIC, and the registration."""
