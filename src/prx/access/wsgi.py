"""Close a WSGI app (Flask, Django …) to visitors who did not come through Access.

    app.wsgi_app = AccessMiddleware(app.wsgi_app, AccessVerifier("my-team", "AUD-TAG"))

Requests without a good token get 403 and never reach the app, which finds the visitor in `environ["prx.access.identity"]`.
A header that was sent twice reaches WSGI joined by a comma, and is no token any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prx.access.claims import AccessDeniedError
from prx.access.verify import EMAIL_HEADER, HEADER, IDENTITY, REFUSAL, AccessVerifier, only_token

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["AccessMiddleware"]

_logger = logging.getLogger(__name__)


class AccessMiddleware:
    """Pass on what `verifier` accepts, refuse everything else."""

    def __init__(self, app: WSGIApplication, verifier: AccessVerifier) -> None:
        self.app = app
        self.verifier = verifier

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        found = environ.get(_variable(HEADER))
        try:
            identity = self.verifier.verify(only_token([] if found is None else [str(found)]))
        except AccessDeniedError as error:
            _logger.info("refused a request: %s (%s)", error.message, error.reason)
            return _refuse(environ, start_response)
        environ[IDENTITY] = identity
        email = _variable(EMAIL_HEADER)  # plain text that any visitor can send: only what the token says may stay
        if environ.get(email) != identity.email:
            environ.pop(email, None)
        return self.app(environ, start_response)


def _variable(header: str) -> str:
    return f"HTTP_{header.upper().replace('-', '_')}"


def _refuse(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(REFUSAL))),
        ("Cache-Control", "no-store"),
    ]
    start_response("403 Forbidden", headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [REFUSAL]
