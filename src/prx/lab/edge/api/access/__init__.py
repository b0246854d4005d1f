"""Access in the account: applications, policies, service tokens, identity providers, and the organization.

`store` holds them and `rules` decides with them; the other modules are the calls. `front` is what the edge asks of an
application for each request: it stands before the name as soon as the application exists.
"""
