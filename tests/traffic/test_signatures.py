"""Signatures of webhook senders are checked as their documentation says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable

import pytest
from tests.traffic.pieces import ask, kept, read_head, service

from prx.runtime.host.clock import SystemClock
from prx.traffic.exchange import Exchange
from prx.traffic.framing import parse_head
from prx.traffic.relay import Relay, Target
from prx.traffic.ring import Ring
from prx.traffic.signatures import SENDERS, verdict
from prx.traffic.tee import Copier

BODY = b'{"payment": 12}'
FORM = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"


def signed(body: bytes, *headers: str, arrived: float = 15.0) -> Exchange:
    """Return a request that came whole."""
    raw = "\r\n".join(["POST /myapp.php?foo=1&bar=2 HTTP/1.1", "Host: mycompany.com", *headers, "", ""]).encode()
    exchange = Exchange(1, "web", arrived, request=parse_head(raw, request=True))
    exchange.request_body.add(body)
    exchange.request_body.whole = True
    return exchange


def digest(secret: bytes, data: bytes) -> bytes:
    """Return an HMAC-SHA256."""
    return hmac.new(secret, data, hashlib.sha256).digest()


SVIX_KEY = base64.b64encode(b"0123456789abcdef01234567").decode()
SVIX = base64.b64encode(digest(b"0123456789abcdef01234567", b"msg_1.1614265330." + BODY)).decode()
SVIX_AT = 1614265330.5
REQUESTS = {
    # the example of GitHub's documentation
    "github": (
        signed(
            b"Hello, World!", "X-Hub-Signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        ),
        "It's a Secret to Everybody",
    ),
    "stripe": (signed(BODY, f"Stripe-Signature: t=1,v1={digest(b'whsec_a', b'1.' + BODY).hex()},v0=00"), "whsec_a"),
    "slack": (
        signed(
            BODY, "X-Slack-Request-Timestamp: 15", f"X-Slack-Signature: v0={digest(b'slack-secret', b'v0:15:' + BODY).hex()}"
        ),
        "slack-secret",
    ),
    "telegram": (signed(BODY, "X-Telegram-Bot-Api-Secret-Token: the-token"), "the-token"),
    # the example of Twilio's documentation
    "twilio": (
        signed(FORM, "Content-Type: application/x-www-form-urlencoded", "X-Twilio-Signature: RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        "12345",
    ),
    "shopify": (
        signed(BODY, f"X-Shopify-Hmac-Sha256: {base64.b64encode(digest(b'hush', BODY)).decode()}"),
        "hush",
    ),
    "svix": (
        signed(BODY, "Svix-Id: msg_1", "Svix-Timestamp: 1614265330", f"Svix-Signature: v1,AAAA v1,{SVIX}", arrived=SVIX_AT),
        f"whsec_{SVIX_KEY}",
    ),
    "webhooks": (
        signed(BODY, "Webhook-Id: msg_1", "Webhook-Timestamp: 1614265330", f"Webhook-Signature: v1,{SVIX}", arrived=SVIX_AT),
        f"whsec_{SVIX_KEY}",
    ),
}


def test_every_sender_is_tried() -> None:
    """The table of this test is that of the code."""
    assert set(REQUESTS) == set(SENDERS)


@pytest.mark.parametrize("sender", SENDERS)
def test_a_signature(sender: str) -> None:
    """It is valid with the right secret, and invalid for another one, another body, or if it is not there as it should be."""
    exchange, secret = REQUESTS[sender]
    assert verdict(exchange, {sender: secret}) == f"{sender}: valid"
    assert verdict(exchange, {}) == f"{sender}: no secret known"
    wrong = {"svix": f"whsec_{base64.b64encode(b'other').decode()}"}.get(sender, "other")
    assert verdict(exchange, {sender: wrong}) == f"{sender}: invalid"
    exchange.request_body.whole = False
    assert "not known" in verdict(exchange, {sender: secret})
    exchange.request_body.whole = True
    if sender != "telegram":
        exchange.request_body.kept[0:0] = b"a=b&"
        assert verdict(exchange, {sender: secret}) in {f"{sender}: invalid", f"{sender}: not known, as its body was cut"}
        del exchange.request_body.kept[:4]


@pytest.mark.parametrize("sender", SENDERS)
def test_nonsense_is_invalid_and_no_error(sender: str) -> None:
    """Whatever stands in the headers, and in the secret, is judged."""
    exchange, _ = REQUESTS[sender]
    assert exchange.request is not None
    names = [name.decode() for name, _ in exchange.request.headers if name != b"Host"]
    for value in ("", "x", "v1,", "t=", "\xff"):
        assert (
            verdict(signed(BODY, *(f"{name}: {value}" for name in names)), {sender: "nonsense"}).endswith("invalid")
            or not value
        )


def test_an_unsigned_request_has_no_verdict() -> None:
    """Nothing is said of what no sender has signed."""
    assert verdict(signed(BODY), {"github": "x"}) == ""


OLD, NEW = "older than the arrival", "newer than the arrival"
TIMES = [
    (0.0, None, None),
    (299.0, None, None),
    (301.0, f"5 minutes {OLD}", f"5 minutes {OLD}"),
    (3600.0, f"60 minutes {OLD}", f"60 minutes {OLD}"),
    (7200.0, f"2 hours {OLD}", f"2 hours {OLD}"),
    (86400.0 * 3, f"3 days {OLD}", f"3 days {OLD}"),
    (-299.0, None, None),
    (-660.0, None, f"11 minutes {NEW}"),
]


@pytest.mark.parametrize("sender", ["stripe", "slack", "svix", "webhooks"])
@pytest.mark.parametrize("ahead", [0.0, 1.5e9, -40.0])
@pytest.mark.parametrize(("late", "stripe", "others"), TIMES)
def test_an_old_signature_says_how_old(sender: str, late: float, stripe: str | None, others: str | None, ahead: float) -> None:
    """A time that was signed is judged by the arrival, as the sender's own library does; Stripe's takes any in the future.

    Times are kept by a steady clock; what the wall clock is `ahead` of it makes no difference.
    """
    exchange, secret = REQUESTS[sender]
    sent_at = {"stripe": 1.0, "slack": 15.0}.get(sender, 1614265330.0)
    moved = Exchange(1, "web", sent_at + late - ahead, exchange.request, exchange.request_body, ahead=ahead)
    expected = stripe if sender == "stripe" else others
    assert verdict(moved, {sender: secret}) == f"{sender}: valid" + (f", but its timestamp is {expected}" if expected else "")
    assert verdict(moved, {sender: secret[:-4] + "AAAA"}) == f"{sender}: invalid"


@pytest.mark.parametrize("at", ["soon", "1.5", "-1", "\u0661", "9" * 40, ""])
def test_a_signed_time_that_is_none_is_said(at: str) -> None:
    """Whatever was signed in its place, the signature is valid and the time is not."""
    mark = digest(b"slack-secret", b"v0:" + at.encode() + b":" + BODY).hex()
    exchange = signed(BODY, f"X-Slack-Request-Timestamp: {at}", f"X-Slack-Signature: v0={mark}")
    assert verdict(exchange, {"slack": "slack-secret"}) == "slack: valid, but its timestamp is no number of seconds"


@pytest.mark.parametrize("sender", ["stripe", "slack", "svix", "webhooks"])
@pytest.mark.parametrize(
    ("age", "expected"), [(0, "valid"), (3600, "valid, but its timestamp is 60 minutes older than the arrival")]
)
async def test_a_webhook_through_a_real_relay_is_judged_by_the_time_of_day(sender: str, age: int, expected: str) -> None:
    """What a sender signs now is valid, and what it has signed an hour ago is said to be old, with the clocks of a real prx."""
    clock = SystemClock()
    at = str(int(clock.wall()) - age)
    headers, secret = SIGNED_AT[sender](at)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    async with service(answer) as port:
        relay = Relay(Target("127.0.0.1", port), Copier(Ring(10, 1_000_000), "web", clock.wall, clock.monotonic))
        await relay.start()
        head = ["POST / HTTP/1.1", "Host: a", f"Content-Length: {len(BODY)}", *headers, "", ""]
        await ask(relay.port, "\r\n".join(head).encode() + BODY)
        (exchange,) = kept(relay)
        await relay.close()
    assert verdict(exchange, {sender: secret}) == f"{sender}: {expected}"


def _svix_at(name: str) -> Callable[[str], tuple[list[str], str]]:
    def signed_at(at: str) -> tuple[list[str], str]:
        mark = base64.b64encode(digest(base64.b64decode(SVIX_KEY), f"m.{at}.".encode() + BODY)).decode()
        return [f"{name}-Id: m", f"{name}-Timestamp: {at}", f"{name}-Signature: v1,{mark}"], f"whsec_{SVIX_KEY}"

    return signed_at


def _stripe_at(at: str) -> tuple[list[str], str]:
    return [f"Stripe-Signature: t={at},v1={digest(b'whsec_a', f'{at}.'.encode() + BODY).hex()}"], "whsec_a"


def _slack_at(at: str) -> tuple[list[str], str]:
    mark = digest(b"slack-secret", f"v0:{at}:".encode() + BODY).hex()
    return [f"X-Slack-Request-Timestamp: {at}", f"X-Slack-Signature: v0={mark}"], "slack-secret"


SIGNED_AT = {"stripe": _stripe_at, "slack": _slack_at, "svix": _svix_at("Svix"), "webhooks": _svix_at("Webhook")}
