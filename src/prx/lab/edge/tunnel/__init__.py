"""The side of the connectors: where they connect, over HTTP/2 and QUIC, and how they register."""
