"""Admit only those requests to a rule with `access.required` that Cloudflare Access has admitted.

Their header `Cf-Access-Jwt-Assertion` is verified as `prx.access` verifies it: signed by a key of the team, issued by it, for
one of the audience tags. Anything wrong, or that cannot be looked up, is a refusal: 403. cloudflared 2026.8.2 refuses the same
requests, those with a bad token with 502. Without a team or a tag nothing can be verified, and every request is refused, as
there.

The keys come from `https://TEAM.cloudflareaccess.com/cdn-cgi/access/certs`, or from where the environment variable
`PRX_ACCESS_CERTS_URL` says (https, or http on this machine): the lab signs for the same issuers with keys of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prx.core.errors import UsageError

if TYPE_CHECKING:
    from prx.access.verify import AccessVerifier

CERTS_URL: Final = "PRX_ACCESS_CERTS_URL"

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Who may pass: visitors of this team's application; `environment` is empty or `fedramp`."""

    required: bool = False
    team: str = ""
    audiences: tuple[str, ...] = ()
    environment: str = ""


class AccessGate:
    """The check of requests; one verifier for each rule, so that keys are fetched rarely."""

    def __init__(self, certs_url: str = "") -> None:
        self._certs_url = certs_url
        self._verifiers: dict[AccessRule, AccessVerifier] = {}
        self._one_fetch = asyncio.Lock()  # those who wait for keys wait here, and fill no thread pool

    async def refusal(self, rule: AccessRule, headers: Headers) -> str:
        """Return why a request (names of headers in lower case) may not pass; empty if it may."""
        from prx.access.claims import AccessDeniedError  # noqa: PLC0415 - they cost 0.1 s, and few need them
        from prx.access.verify import HEADER, only_token  # noqa: PLC0415 - as above

        try:
            verifier = self._verifier(rule)
            token = only_token([value for name, value in headers if name == HEADER.encode()]).decode("latin-1")
            if verifier.may_block(token):
                async with self._one_fetch:
                    if verifier.may_block(token):  # a task that waited finds the keys fetched
                        await asyncio.to_thread(verifier.verify, token)
                        return ""
            verifier.verify(token)
        except (AccessDeniedError, UsageError) as error:
            return str(error)
        return ""

    def _verifier(self, rule: AccessRule) -> AccessVerifier:
        from prx.access.verify import AccessVerifier  # noqa: PLC0415 - as above

        if rule not in self._verifiers:
            issuer = f"https://{rule.team}.fed.cloudflareaccess.com" if rule.environment else ""
            made = AccessVerifier(rule.team, rule.audiences, issuer=issuer, certs_url=self._certs_url)
            self._verifiers[rule] = made
        return self._verifiers[rule]
