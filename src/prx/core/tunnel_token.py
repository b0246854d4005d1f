"""Tunnel tokens: what `cloudflared tunnel run --token` takes.

A token is base64 (standard alphabet, with padding) of a JSON object: `a` the account's tag, `t` the tunnel's UUID, `s`
the tunnel's secret in base64, and optionally `e`, the name of a regional endpoint (observed with cloudflared 2026.8.2).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import field
from typing import Any
from uuid import UUID

from prx.core.parsing import parse_json
from prx.core.value import Value, value_class

MAX_TOKEN = 8 * 1024  # characters; real tokens have about 180


class TokenError(Exception):
    """A tunnel token cannot be read; the text names the defect and never the content."""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class TunnelToken(Value):
    """The parts of a tunnel token; `secret` is raw bytes and never shown, `endpoint` is empty if there is none."""

    account_tag: str
    tunnel_id: UUID
    secret: bytes = field(repr=False)
    endpoint: str = ""

    def encode(self) -> str:
        """Write the token as the one word that connectors take."""
        parts = {"a": self.account_tag, "t": str(self.tunnel_id), "s": base64.b64encode(self.secret).decode()}
        if self.endpoint:
            parts["e"] = self.endpoint
        return base64.b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode()

    @classmethod
    def decode(cls, text: str) -> TunnelToken:
        """Read a token, white space around it allowed; TokenError names what is wrong, never what stands there.

        Stricter than cloudflared in one place: it accepts a token without `a`, `t` or `s` and fails later.
        """
        parts = _json(text.strip())
        return cls(
            account_tag=_text(parts, "a", "the account tag"),
            tunnel_id=_tunnel_id(_text(parts, "t", "the tunnel id")),
            secret=_secret(_text(parts, "s", "the secret")),
            endpoint=_text(parts, "e", "the endpoint", required=False),
        )


def _json(text: str) -> dict[str, Any]:
    if not text:
        raise TokenError("the token is empty")
    if len(text) > MAX_TOKEN:
        raise TokenError(f"the token has {len(text)} characters; at most {MAX_TOKEN} are expected")
    if len(text.split()) > 1:
        raise TokenError("the token has white space inside it; expected one word")
    try:
        parts = parse_json(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise TokenError(f"the token is not base64: {_base64_defect(text)}") from error
    except ValueError as error:  # bad UTF-8 and bad JSON are both ValueErrors
        raise TokenError("the token is base64, but not of JSON") from error
    if not isinstance(parts, dict):
        raise TokenError(f"the token holds a JSON {_json_kind(parts)}; expected an object")
    return parts


def _base64_defect(text: str) -> str:
    if "-" in text or "_" in text:
        return "it uses the URL-safe alphabet ('-', '_'); expected the standard one ('+', '/')"
    if len(text) % 4:
        return f"its length {len(text)} is not a multiple of 4; it may have been cut off or lost its '=' padding"
    return "it holds characters that are not of the base64 alphabet"


def _json_kind(value: object) -> str:
    kinds = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "null")


def _text(parts: dict[str, Any], key: str, what: str, *, required: bool = True) -> str:
    value = parts.get(key, "")
    if not isinstance(value, str):
        raise TokenError(f"{what} ('{key}') in the token is a JSON {_json_kind(value)}; expected a string")
    if required and not value:
        raise TokenError(f"{what} ('{key}') is missing in the token")
    return value


def _tunnel_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise TokenError("the tunnel id ('t') in the token is not a UUID") from error


def _secret(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise TokenError("the secret ('s') in the token is not base64") from error
