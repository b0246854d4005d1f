"""Check what webhook senders sign their requests with, for those whose scheme is public. Pure; standard library only.

Each is described in its sender's documentation: GitHub "Validating webhook deliveries", Stripe "Verify webhook signatures
manually", Slack "Verifying requests from Slack", Telegram Bot API `setWebhook` (secret_token), Twilio "Webhooks security",
Shopify "Deliver webhooks through HTTPS", Svix and Standard Webhooks "Verifying webhooks manually". How old a signature is, is
not judged: what is shown here may be.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from prx.traffic.exchange import Exchange
from prx.traffic.framing import Head

Check: TypeAlias = Callable[[Head, bytes, bytes], bool]  # head, body, secret


def verdict(exchange: Exchange, secrets: Mapping[str, str]) -> str:
    """Return "github: valid", "github: invalid", or why that is not known; empty if no known sender has signed it.

    `secrets`: by sender; an empty one is not known.
    """
    head = exchange.request
    sender = next((name for name, (mark, _) in _SENDERS.items() if head is not None and head.values(mark)), "")
    if head is None or not sender:
        return ""
    secret = secrets.get(sender, "")
    if not secret:
        return f"{sender}: no secret known"
    if exchange.request_body.cut:
        return f"{sender}: not known, as its body was cut"
    _, check = _SENDERS[sender]
    try:
        valid = check(head, bytes(exchange.request_body.kept), secret.encode())
    except (ValueError, binascii.Error):
        valid = False
    return f"{sender}: {'valid' if valid else 'invalid'}"


def _one(head: Head, name: bytes) -> bytes:
    (value,) = head.values(name)  # ValueError if it is not there, or twice
    return value


def _same(given: bytes, expected: bytes) -> bool:
    return hmac.compare_digest(given, expected)


def _sha256(secret: bytes, data: bytes) -> bytes:
    return hmac.new(secret, data, hashlib.sha256).digest()


def _github(head: Head, body: bytes, secret: bytes) -> bool:
    return _same(_one(head, b"x-hub-signature-256"), b"sha256=" + _sha256(secret, body).hex().encode())


def _stripe(head: Head, body: bytes, secret: bytes) -> bool:
    parts = [part.strip().partition(b"=") for part in _one(head, b"stripe-signature").split(b",")]
    (at,) = (value for key, _, value in parts if key == b"t")
    expected = _sha256(secret, at + b"." + body).hex().encode()
    return any(_same(value, expected) for key, _, value in parts if key == b"v1")


def _slack(head: Head, body: bytes, secret: bytes) -> bool:
    signed = b"v0:" + _one(head, b"x-slack-request-timestamp") + b":" + body
    return _same(_one(head, b"x-slack-signature"), b"v0=" + _sha256(secret, signed).hex().encode())


def _telegram(head: Head, _body: bytes, secret: bytes) -> bool:
    return _same(_one(head, b"x-telegram-bot-api-secret-token"), secret)


def _twilio(head: Head, body: bytes, secret: bytes) -> bool:
    scheme = b"".join(head.values(b"x-forwarded-proto")[:1]) or b"https"
    signed = scheme + b"://" + _one(head, b"host") + head.target
    if b"".join(head.values(b"content-type")).startswith(b"application/x-www-form-urlencoded"):
        pairs = sorted(parse_qsl(body.decode(), keep_blank_values=True))
        signed += "".join(name + value for name, value in pairs).encode()
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha1).digest())
    return _same(_one(head, b"x-twilio-signature"), expected)


def _shopify(head: Head, body: bytes, secret: bytes) -> bool:
    return _same(_one(head, b"x-shopify-hmac-sha256"), base64.b64encode(_sha256(secret, body)))


def _svix(head: Head, body: bytes, secret: bytes) -> bool:
    prefix = b"svix" if head.values(b"svix-signature") else b"webhook"
    signed = b".".join([_one(head, prefix + b"-id"), _one(head, prefix + b"-timestamp"), body])
    key = base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
    expected = b"v1," + base64.b64encode(_sha256(key, signed))
    return any(_same(given, expected) for given in _one(head, prefix + b"-signature").split())


_SENDERS: Final[dict[str, tuple[bytes, Check]]] = {
    "github": (b"x-hub-signature-256", _github),
    "stripe": (b"stripe-signature", _stripe),
    "slack": (b"x-slack-signature", _slack),
    "telegram": (b"x-telegram-bot-api-secret-token", _telegram),
    "twilio": (b"x-twilio-signature", _twilio),
    "shopify": (b"x-shopify-hmac-sha256", _shopify),
    "svix": (b"svix-signature", _svix),
    "webhooks": (b"webhook-signature", _svix),
}
SENDERS: Final = tuple(_SENDERS)
