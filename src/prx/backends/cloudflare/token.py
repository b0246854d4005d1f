"""Understand the tunnel token before anything is started with it.

cloudflared takes standard base64 with padding only and says no more than "Provided Tunnel token is not valid." (observed
with cloudflared 2026.8.2). Here the defect is named, the harmless ones are repaired — white space around or inside, a pasted
command line, quotes, the URL-safe alphabet, lost padding — and the child always gets the canonical text. No message holds
any part of what was found.
"""

from __future__ import annotations

import base64
import re
from dataclasses import field
from typing import Final

from prx.core.errors import CredentialError
from prx.core.tunnel_token import TokenError, TunnelToken
from prx.core.value import Value, value_class
from prx.secrets.errors import SecretError
from prx.secrets.pasted_token import extract_token
from prx.secrets.value import Secret

_PLACE: Final = "the tunnel token"
_HINT: Final = "copy it again from the Cloudflare dashboard (Networking › Tunnels, your tunnel): one word that begins with eyJ"
_URL_SAFE: Final = str.maketrans("-_", "+/")
_BEGIN: Final = "eyJ"  # the base64 of `{"`, with which every token begins
_HIDE_FROM: Final = 16  # characters; real secrets have 44, and hiding a short word would shred the log
_BASE64_WORD: Final = re.compile(r"[A-Za-z0-9+/_=-]+")

# What else people copy from the dashboard: most of it is base64, too, and would be called a damaged token. The forms of
# API tokens, keys and client secrets are of developers.cloudflare.com/fundamentals/api/get-started/token-formats/.
_OTHERS: Final = (
    (r"(?:cfut|cfat)_\S+|(?!eyJ)[\w-]{40}", "an API token, which CLOUDFLARE_API_TOKEN takes"),
    (r"cfk_\S+", "the global API key, which prx does not use"),
    (r"cfast_\S+|[0-9a-f]{64}", "the client secret of a service token, which CF_ACCESS_CLIENT_SECRET takes"),
    (r"[0-9a-f]{32}\.access", "the client ID of a service token, which CF_ACCESS_CLIENT_ID takes"),
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", "an id, such as that of the tunnel or of the account"),
)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class GivenToken(Value):
    """A token that was understood: `text` is what the child gets, `secrets` every form of it that must never be shown."""

    tunnel_id: str
    text: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


def read_token(given: Secret) -> GivenToken:
    """Return the token in canonical form; CredentialError names what is wrong with it, never what stands there."""
    raw = given.reveal()
    try:
        word = _one_word(extract_token(raw, _PLACE))
        token = TunnelToken.decode(word)
    except SecretError as error:
        raise CredentialError(str(error), hint=_HINT) from None
    except TokenError as error:
        raise CredentialError(f"the tunnel token cannot be used: {error}", hint=_HINT) from None
    inner = base64.b64encode(token.secret).decode()
    forms = (word, raw.strip(), *((inner,) if len(inner) >= _HIDE_FROM else ()))
    return GivenToken(str(token.tunnel_id), word, tuple(dict.fromkeys(forms)))


def secret_forms(given: Secret) -> tuple[str, ...]:
    """Return every form of a token that must never be shown; just the text itself if it cannot be understood."""
    if not given:
        return ()
    try:
        return read_token(given).secrets
    except CredentialError:
        return (given.reveal().strip(),)


def _one_word(text: str) -> str:
    """Repair what can be repaired without guessing; TokenError if the text is plainly something else."""
    words = [word.strip("'\"`,;") for word in text.split()]
    tokens = {word for word in words if word.startswith(_BEGIN)}
    if len(tokens) > 1:
        raise TokenError(f"there are {len(tokens)} different tokens; expected one")
    if text.lstrip().startswith("{"):
        raise TokenError("it is JSON, possibly the credentials file of a locally managed tunnel; expected the token in base64")
    if tokens and len(set(words)) == 1:  # the same token twice is one token
        words = words[:1]
    if any(word.startswith(_BEGIN) and word.count(".") == 2 for word in words):
        raise TokenError("it is a JWT, which belongs to Cloudflare Access; expected a tunnel token")
    for form, what in _OTHERS:
        if len(words) == 1 and re.fullmatch(form, words[0], re.IGNORECASE):
            raise TokenError(f"it has the form of {what}; expected a tunnel token")
    if not all(_BASE64_WORD.fullmatch(word) for word in words):
        raise TokenError("it holds characters that are not of the base64 alphabet")
    joined = "".join(words).translate(_URL_SAFE).rstrip("=")  # several words: a terminal broke the line
    lost = -len(joined) % 4  # three missing characters are no padding: the token was cut off
    return joined + "=" * lost if lost < 3 else joined
