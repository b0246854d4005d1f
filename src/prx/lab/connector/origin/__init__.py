"""Towards the local service: ingress rules, the proxy, HTTP/1.1, HTTP/2 and TCP over WebSocket."""
