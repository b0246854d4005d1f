"""Take the token out of the command line that Cloudflare's dashboard offers for copying.

The dashboard shows `sudo cloudflared service install eyJ…`, `cloudflared tunnel run --token eyJ…` and a `docker run …
cloudflare/cloudflared:latest tunnel --no-autoupdate run --token eyJ…`; people paste the whole line where the token belongs.
"""

from __future__ import annotations

import re
from typing import Final

from prx.secrets.errors import SecretError

# A word that names the program: a path, an .exe or an image may surround it.
_PROGRAM: Final = re.compile(r"(?:.*[/\\])?cloudflared(?:\.exe|:[\w.-]+)?", re.IGNORECASE)
# A tunnel token is base64 of a JSON object, so it begins with the base64 of `{"`.
_TOKEN: Final = re.compile(r"(?:--token=)?(eyJ[A-Za-z0-9+/_=-]+)")


def extract_token(text: str, place: str) -> str:
    """Return the token of a pasted `cloudflared` command line; any other text comes back as it is.

    SecretError, naming `place`, when the line is such a command but holds no token, or several different ones.
    """
    words = [word.strip("'\"`") for word in text.split()]
    if len(words) < 2 or not any(_PROGRAM.fullmatch(word) for word in words):  # a single word is no command line
        return text
    tokens = {match[1] for word in words if (match := _TOKEN.fullmatch(word))}
    if len(tokens) != 1:
        found = f"{len(tokens)} different tokens" if tokens else "no token"
        raise SecretError(f"{place}: a cloudflared command with {found}, expected the token (it begins with eyJ)")
    return tokens.pop()
