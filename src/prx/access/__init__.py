"""Cloudflare Access: closes an app to visitors who did not come through Access.

Theory of operation. Access stands in front of a public hostname. Whom it lets through, it names to the app in the header
`Cf-Access-Jwt-Assertion`: a JWT, signed with a key of the team (RS256), issued by `https://TEAM.cloudflareaccess.com`, for the
audience tag of the one application. A visitor who reaches the app around Access (the local network, another tunnel, a wrong
policy) cannot make such a token, so an app that verifies it stays closed. Never trust `Cf-Access-Authenticated-User-Email`
alone: that is plain text that any visitor can send.

    verify      AccessVerifier: one token in, an Identity out, or AccessDeniedError
    claims      what must hold of the token's content, and the Identity made of it
    jwks        the team's public keys: fetched rarely, kept while the endpoint is down
    asgi, wsgi  middlewares around an app

For users: `AccessVerifier`, `AccessDeniedError` and `Identity` from here, `AccessMiddleware` from `asgi` or `wsgi`. They import
PyJWT and an HTTP client (0.1 s and 21 MB, measured), which happens at their first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prx.front_door import late

if TYPE_CHECKING:
    from prx.access import asgi, wsgi
    from prx.access.claims import AccessDeniedError, Identity
    from prx.access.verify import AccessVerifier

__all__ = ["AccessDeniedError", "AccessVerifier", "Identity", "asgi", "wsgi"]

if not TYPE_CHECKING:
    __getattr__ = late(
        __name__,
        {
            "AccessDeniedError": "prx.access.claims",
            "AccessVerifier": "prx.access.verify",
            "Identity": "prx.access.claims",
            "asgi": "",
            "wsgi": "",
        },
    )
