"""Check what webhook senders sign their requests with, for those whose scheme is public. Pure; standard library only.

Each is described in its sender's documentation: GitHub "Validating webhook deliveries", Stripe "Verify webhook signatures
manually", Slack "Verifying requests from Slack", Telegram Bot API `setWebhook` (secret_token), Twilio "Webhooks security",
Shopify "Deliver webhooks through HTTPS", Svix and Standard Webhooks "Verifying webhooks manually".

Stripe, Slack, Svix and Standard Webhooks sign the time of sending, too, and have receivers refuse what is more than five
minutes off, as another may have recorded it. The time is compared with the arrival, not with now: what is kept stays valid.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from prx.core.numbers import whole
from prx.traffic.exchange import Exchange
from prx.traffic.framing import Head

Check: TypeAlias = Callable[[Head, bytes, bytes], bool]  # head, body, secret

TOLERANCE: Final = 300.0
"""Seconds that a signed time may be off, as the libraries of all senders that sign one have it."""

_HOURS_FROM: Final = 120  # minutes; below, they are said in minutes
_DAYS_FROM: Final = 48 * 60


def verdict(exchange: Exchange, secrets: Mapping[str, str]) -> str:
    """Return "github: valid", "github: invalid", or why that is not known; empty if no known sender has signed it.

    A valid one may be too old for its receiver: "stripe: valid, but its timestamp is 60 minutes older than the arrival".

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
    late = _off_time(sender, head, exchange.wall(exchange.began)) if valid else ""
    return f"{sender}: {'valid' if valid else 'invalid'}{late}"


def _off_time(sender: str, head: Head, arrived: float) -> str:
    """Return what a receiver would object to in the time that was signed; empty if nothing. arrived: seconds since 1970."""
    sent, refuses_future = _sent_at(sender, head)
    if sent is None:
        return ""
    if (seconds := whole(sent)) is None:
        return ", but its timestamp is no number of seconds"
    if (age := arrived - seconds) > TOLERANCE:
        return f", but its timestamp is {_ago(age)} older than the arrival"
    return f", but its timestamp is {_ago(-age)} newer than the arrival" if refuses_future and -age > TOLERANCE else ""


def _sent_at(sender: str, head: Head) -> tuple[bytes | None, bool]:
    """Return the time that was signed, as text (None: this sender signs none), and whether one in the future is refused."""
    match sender:
        case "stripe":  # its libraries refuse what is old alone
            return _stripe_parts(head)[0], False
        case "slack":
            return _one(head, b"x-slack-request-timestamp"), True
        case "svix" | "webhooks":
            return _one(head, _svix_prefix(head) + b"-timestamp"), True
    return None, False


def _ago(seconds: float) -> str:
    """Return a length of time of more than five minutes in words."""
    minutes = int(seconds // 60)
    if minutes < _HOURS_FROM:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < _DAYS_FROM else f"{minutes // 1440} days"


def _one(head: Head, name: bytes) -> bytes:
    (value,) = head.values(name)  # ValueError if it is not there, or twice
    return value


def _same(given: bytes, expected: bytes) -> bool:
    return hmac.compare_digest(given, expected)


def _sha256(secret: bytes, data: bytes) -> bytes:
    return hmac.new(secret, data, hashlib.sha256).digest()


def _github(head: Head, body: bytes, secret: bytes) -> bool:
    return _same(_one(head, b"x-hub-signature-256"), b"sha256=" + _sha256(secret, body).hex().encode())


def _stripe_parts(head: Head) -> tuple[bytes, list[bytes]]:
    """Return the time that was signed, and the signatures."""
    parts = [part.strip().partition(b"=") for part in _one(head, b"stripe-signature").split(b",")]
    (at,) = (value for key, _, value in parts if key == b"t")
    return at, [value for key, _, value in parts if key == b"v1"]


def _stripe(head: Head, body: bytes, secret: bytes) -> bool:
    at, given = _stripe_parts(head)
    expected = _sha256(secret, at + b"." + body).hex().encode()
    return any(_same(value, expected) for value in given)


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


def _svix_prefix(head: Head) -> bytes:
    return b"svix" if head.values(b"svix-signature") else b"webhook"


def _svix(head: Head, body: bytes, secret: bytes) -> bool:
    prefix = _svix_prefix(head)
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
