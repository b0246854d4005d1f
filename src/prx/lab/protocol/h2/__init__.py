"""One HTTP/2 connection, in either role."""
