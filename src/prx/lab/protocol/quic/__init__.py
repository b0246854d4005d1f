"""One QUIC connection, in either role."""
