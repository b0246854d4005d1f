"""The forms of secrets, as far as one can never work in another: asked without a word of what stands there."""

from __future__ import annotations

import base64
import binascii


def is_header_word(text: str) -> bool:
    """Return whether a header can carry it as one word: visible ASCII (RFC 9110, 5.6.2 and 11.4, leniently)."""
    return all("!" <= character <= "~" for character in text)


def is_user_and_password(text: str) -> bool:
    """Return whether it is USER:PASSWORD, as a visitor can send it (RFC 7617, 2): without control characters."""
    return ":" in text and all(character.isprintable() for character in text)


def is_whsec(text: str) -> bool:
    """Return whether it is a key as Svix and Standard Webhooks write it: base64 behind `whsec_`."""
    try:
        return bool(base64.b64decode(text.removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        return False
