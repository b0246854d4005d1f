"""A stand-in for Cloudflare's API: one account with one zone, on the same state as the edge.

Theory of operation
-------------------
`Account` holds what the account has: API tokens, DNS records, Access objects, OAuth clients, and, by way of the edge's own
`Registry`, the tunnels. Nothing is held twice: a tunnel made here is the very object that a connector registers for, and a
DNS record that leads a name to a tunnel is what the edge and the resolver look the name up in.

    Endpoint → server.ApiServer → tokens (who asks) → router (which call) → faulting → permissions
      → a resource's handler → envelope

A resource is a class with `routes()`; each `Route` names method, path, the permission that the call needs, and a handler: a
plain function from a `Call` to a result, or to a `Reply` if status or pages matter. A handler raises `ApiError` for what
Cloudflare refuses. Handlers never wait: a configuration is pushed, and connections are cut, by tasks of the edge.

Every call is recorded in the `Journal`, so that tests can count what wrote. If it is not known which of two answers Cloudflare
sends, `Habits` chooses one, so that a client can be tried with both.

Sources: developers.cloudflare.com/api, cloudflared 2026.8.2 (its published source and what it was seen to do), the types of the
Python SDK 5.9.0, and error answers as public issue trackers quote them.
"""
