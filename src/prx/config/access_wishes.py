"""What `[tunnel.access]` and `prx setup` say about who may visit: each text checked, and understood.

The checks return a text as it is used or raise ValueError, whose text completes "found …, expected …".
"""

from __future__ import annotations

import re
from typing import Final

from prx.config.checks import mail_rule

EVERYONE: Final = "everyone"
_TOKEN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STORE: Final = "secret:"
_LONGEST_STORE_NAME: Final = 61  # two entries of the secrets manager: NAME, and NAME-id


def allow_rule(text: str) -> str:
    """Check who may visit, and return it in lower case: `you@example.com`, `@example.com` or `everyone`."""
    rule = text.strip().lower()
    if rule == EVERYONE:
        return rule
    try:
        checked = mail_rule(f"*{rule}" if rule.startswith("@") else rule)
    except ValueError:
        raise ValueError("you@example.com, @example.com for every address of that domain, or everyone") from None
    return checked.removeprefix("*")


def public_path(text: str) -> str:
    """Check a path that stays open while the rest is protected; each segment may hold one `*`."""
    plain = all("!" <= character <= "~" and character not in '?#%"\\' for character in text)
    segments = text.split("/")[1:]
    if not text.startswith("/") or not plain or any(segment.count("*") > 1 for segment in segments):
        raise ValueError("a path such as /hooks/*, that begins with / and has at most one * between two slashes")
    if text == "/" or {".", ".."} & set(segments) or "" in segments[:-1]:
        raise ValueError("a path such as /hooks/*, without empty parts and dots; to leave everything open give no rule at all")
    return text


def service_token(text: str) -> str:
    """Check the name of a service token: `github`, or `github=secret:NAME` to keep its two values in the secrets manager."""
    name, equals, place = text.partition("=")
    kept = place.removeprefix(_STORE)
    sound = not equals or (place.startswith(_STORE) and _TOKEN_NAME.fullmatch(kept) and len(kept) <= _LONGEST_STORE_NAME)
    if not _TOKEN_NAME.fullmatch(name) or not sound:
        raise ValueError("a name such as github, or github=secret:NAME to keep its values in the secrets manager")
    return text


def client_id(text: str) -> str:
    """Check the id of an OAuth client; empty is allowed."""
    if text and not re.fullmatch(r"[\w.-]{1,200}", text, re.ASCII):
        raise ValueError("the client ID of an OAuth client, one word")
    return text


def split_service_token(text: str) -> tuple[str, str]:
    """Return the name of a checked service token, and the entry of the secrets manager that keeps it (empty: none)."""
    name, _, place = text.partition("=")
    return name, place.removeprefix(_STORE)
