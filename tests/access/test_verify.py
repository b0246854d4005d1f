"""The verifier admits only what came through Access."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from hypothesis import given
from hypothesis import strategies as st

from prx.access.claims import AccessDeniedError, Identity, identify
from prx.access.verify import AccessVerifier
from prx.core.errors import UsageError

if TYPE_CHECKING:
    from tests.access.conftest import Team

AUD = "32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228"
ISSUER = "https://my-team.cloudflareaccess.com"


def b64(content: bytes | dict[str, Any]) -> str:
    """Encode as a part of a token."""
    raw = json.dumps(content).encode() if isinstance(content, dict) else content
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parts(token: str) -> list[str]:
    """Take a token apart."""
    return token.split(".")


def with_header(team: Team, **changes: Any) -> str:
    """Replace the header and keep claims and signature."""
    _, claims, signature = parts(team.sign())
    return ".".join([b64({"alg": "RS256", "kid": "first", "typ": "JWT", **changes}), claims, signature])


def hs256_with_public_key(team: Team) -> str:
    """Use the public key, which everybody has, as an HMAC secret."""
    public = team.all_keys["first"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = f"{b64({'alg': 'HS256', 'kid': 'first', 'typ': 'JWT'})}.{parts(team.sign())[1]}"
    return f"{signed}.{b64(hmac.digest(pem, signed.encode(), hashlib.sha256))}"


def other_algorithm(team: Team, algorithm: str) -> str:
    """Sign with an algorithm that is not pinned, the right key where it fits."""
    key: Any = ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else team.all_keys["first"]
    claims = json.loads(base64.urlsafe_b64decode(parts(team.sign())[1] + "=="))
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "first"})


def own_key(team: Team, parameter: str) -> str:
    """Sign with a stranger's key and send that key, or its URL, in the header."""
    own: Any = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(team.all_keys["stranger"].public_key()))
    value = own if parameter == "jwk" else ["MIIB"] if parameter == "x5c" else "https://evil.example/keys"
    return team.sign("stranger", header={"kid": "first", parameter: value})


def resigned(team: Team, payload: bytes) -> str:
    """Sign any bytes with the right key."""
    return jwt.PyJWS().encode(payload, team.all_keys["first"], algorithm="RS256", headers={"kid": "first"})


def two_kids(team: Team, first: str, last: str) -> str:
    """Sign with a stranger's key under a header that names two keys."""
    header = b64(f'{{"alg": "RS256", "kid": "{first}", "kid": "{last}"}}'.encode())
    signed = f"{header}.{parts(team.sign())[1]}"
    return f"{signed}.{b64(team.all_keys['stranger'].sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


BAD: dict[str, tuple[str, Callable[[Team], str]]] = {
    "empty": ("malformed", lambda team: ""),
    "whitespace": ("malformed", lambda team: "   "),
    "space around": ("malformed", lambda team: f" {team.sign()}"),
    "line end": ("malformed", lambda team: f"{team.sign()}\n"),
    "non-ASCII": ("malformed", lambda team: f"é{team.sign()}"),
    "bearer prefix": ("malformed", lambda team: f"Bearer {team.sign()}"),
    "garbage": ("malformed", lambda team: "AAAA.BBBB.CCCC"),
    "no base64": ("malformed", lambda team: "$$.$$.$$"),
    "padded base64": ("malformed", lambda team: f"{team.sign()}=="),
    "two parts": ("malformed", lambda team: ".".join(parts(team.sign())[:2])),
    "four parts": ("malformed", lambda team: f"{team.sign()}.AAAA"),
    "signature stripped": ("malformed", lambda team: ".".join([*parts(team.sign())[:2], ""])),
    "truncated": ("signature", lambda team: team.sign()[:-42]),
    "huge": ("too_long", lambda team: team.sign(groups=["x" * 16_384])),
    "two tokens joined": ("malformed", lambda team: f"{team.sign()},{team.sign()}"),
    "alg none, unsigned": ("malformed", lambda team: f"{b64({'alg': 'none'})}.{parts(team.sign())[1]}."),
    "alg none, signed": ("algorithm", lambda team: with_header(team, alg="none")),
    "alg None in capitals": ("algorithm", lambda team: with_header(team, alg="NONE")),
    "alg missing": ("algorithm", lambda team: with_header(team, alg=None)),
    "alg a list": ("algorithm", lambda team: with_header(team, alg=["RS256"])),
    "HS256 with the public key": ("algorithm", hs256_with_public_key),
    "RS512": ("algorithm", lambda team: other_algorithm(team, "RS512")),
    "PS256": ("algorithm", lambda team: other_algorithm(team, "PS256")),
    "ES256": ("algorithm", lambda team: other_algorithm(team, "ES256")),
    "kid missing": ("unknown_key", lambda team: jwt.encode({}, team.all_keys["first"], algorithm="RS256")),
    "kid unknown": ("unknown_key", lambda team: team.sign("stranger")),
    "kid of another key": ("signature", lambda team: team.sign("first", header={"kid": "second"})),
    "kid empty": ("unknown_key", lambda team: with_header(team, kid="")),
    "kid a number": ("malformed", lambda team: with_header(team, kid=1)),
    "kid a path": ("unknown_key", lambda team: with_header(team, kid="../../dev/null")),
    "stranger's key under our kid": ("signature", lambda team: team.sign("stranger", header={"kid": "first"})),
    "small key": ("unknown_key", lambda team: team.sign("small")),
    "jwk in the header": ("header", lambda team: own_key(team, "jwk")),
    "jku in the header": ("header", lambda team: own_key(team, "jku")),
    "x5u in the header": ("header", lambda team: own_key(team, "x5u")),
    "x5c in the header": ("header", lambda team: own_key(team, "x5c")),
    "crit in the header": ("malformed", lambda team: team.sign(header={"crit": ["exp"]})),
    "b64 in the header": ("malformed", lambda team: with_header(team, b64=False)),
    "two kids, ours last": ("signature", lambda team: two_kids(team, "stranger", "first")),
    "two kids, ours first": ("unknown_key", lambda team: two_kids(team, "first", "stranger")),
    "header replaced": ("signature", lambda team: with_header(team, typ="other")),
    "claims replaced": (
        "signature",
        lambda team: ".".join([parts(team.sign())[0], b64({"aud": [AUD]}), parts(team.sign())[2]]),
    ),
    "signature of another token": (
        "signature",
        lambda team: ".".join([*parts(team.sign())[:2], parts(team.sign(email="other@example.com"))[2]]),
    ),
    "header no object": ("malformed", lambda team: ".".join([b64(b"[]"), *parts(team.sign())[1:]])),
    "header deep": ("malformed", lambda team: ".".join([b64(b"[" * 5000), *parts(team.sign())[1:]])),
    "claims no object": ("malformed", lambda team: resigned(team, b'["aud"]')),
    "claims no JSON": ("malformed", lambda team: resigned(team, b"aud=x")),
    "claims deep": ("malformed", lambda team: resigned(team, b"[" * 5000)),
    "iss wrong": ("issuer", lambda team: team.sign(iss="https://other-team.cloudflareaccess.com")),
    "iss with a slash": ("issuer", lambda team: team.sign(iss=f"{ISSUER}/")),
    "iss missing": ("issuer", lambda team: team.sign(iss=None)),
    "iss a list": ("issuer", lambda team: resigned(team, json.dumps({"iss": [ISSUER], "aud": [AUD]}).encode())),
    "aud wrong": ("audience", lambda team: team.sign(aud=["0" * 64])),
    "aud two, not ours": ("audience", lambda team: team.sign(aud=["0" * 64, "1" * 64])),
    "aud two, ours among them": ("audience", lambda team: team.sign(aud=[AUD, "0" * 64])),
    "aud ours, twice": ("audience", lambda team: team.sign(aud=[AUD, AUD])),
    "aud missing": ("audience", lambda team: team.sign(aud=None)),
    "aud empty": ("audience", lambda team: team.sign(aud=[])),
    "aud part of ours": ("audience", lambda team: team.sign(aud=AUD[:-1])),
    "aud an object": ("audience", lambda team: team.sign(aud={AUD: AUD})),
    "aud nested": ("audience", lambda team: team.sign(aud=[[AUD]])),
    "exp past": ("expired", lambda team: team.sign(exp=team.now - 61)),
    "exp missing": ("malformed", lambda team: team.sign(exp=None)),
    "exp true": ("malformed", lambda team: team.sign(exp=True)),
    "exp a far text": (
        "malformed",
        lambda team: resigned(team, json.dumps({"iss": ISSUER, "aud": AUD, "exp": "9e9"}).encode()),
    ),
    "exp infinite": ("malformed", lambda team: team.sign(exp=float("inf"))),
    "exp not a number": ("malformed", lambda team: team.sign(exp=float("nan"))),
    "exp with 400 digits": ("malformed", lambda team: team.sign(exp=10**400)),
    "nbf to come": ("not_yet", lambda team: team.sign(nbf=team.now + 61)),
    "iat to come": ("issued_later", lambda team: team.sign(iat=team.now + 61)),
    "iat missing": ("malformed", lambda team: team.sign(iat=None)),
    "nobody": ("nobody", lambda team: team.sign(email=None)),
    "email a list": ("nobody", lambda team: team.sign(email=["user@example.com"])),
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused(team: Team, name: str) -> None:
    """Each of these is refused for its own reason, and the message holds no part of the token."""
    reason, make = BAD[name]
    team.published = ["first", "second", "small"]
    token = make(team)
    with pytest.raises(AccessDeniedError) as caught:
        team.verifier().verify(token)
    assert caught.value.reason == reason
    assert all(part not in caught.value.message for part in parts(token) if len(part) > 3)


GOOD: dict[str, Callable[[Team], str]] = {
    "plain": lambda team: team.sign(),
    "aud a text": lambda team: team.sign(aud=AUD),
    "just expired": lambda team: team.sign(exp=team.now - 59),
    "clock behind": lambda team: team.sign(iat=team.now + 59, nbf=team.now + 59),
    "nbf missing": lambda team: team.sign(nbf=None),
    "times with fractions": lambda team: team.sign(exp=team.now + 0.5),
    "with a client certificate": lambda team: team.sign(common_name="device"),
    "six kilobytes": lambda team: team.sign(groups=["x" * 4000]),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_token_names_its_person(team: Team, name: str) -> None:
    """What Access signs for this application is accepted."""
    identity = team.verifier().verify(GOOD[name](team))
    assert (identity.kind, identity.email, identity.subject) == (
        "person",
        "user@example.com",
        "7335d417-61da-459d-899c-0a01c76a2f94",
    )
    assert identity.claims["iss"] == ISSUER


def test_a_service_token_is_told_from_a_person(team: Team) -> None:
    """Machines are named by their client id."""
    identity = team.verifier().verify(team.service())
    assert identity == Identity("service", common_name="abc.access")


def test_claims_cannot_be_changed(team: Team) -> None:
    """What an app does to the claims does not change the identity."""
    with pytest.raises(TypeError):
        team.verifier().verify(team.sign()).claims["email"] = "other"  # type: ignore[index]


def test_a_key_rotation_goes_unnoticed(team: Team) -> None:
    """Tokens of the old and of the new key are accepted while both are published; later the old key is not."""
    verifier = team.verifier()
    verifier.verify(team.sign("first"))
    team.published = ["first", "second"]
    team.pass_time(61)
    verifier.verify(team.sign("second"))
    verifier.verify(team.sign("first"))
    assert team.fetches == 2
    team.published = ["second"]
    team.pass_time(3600)
    verifier.verify(team.sign("second"))
    with pytest.raises(AccessDeniedError):
        verifier.verify(team.sign("first"))


@pytest.mark.parametrize(
    "headers",
    [
        {"Cf-Access-Jwt-Assertion": "{}"},
        {"host": "x", "CF-ACCESS-JWT-ASSERTION": "{}"},
        [("cf-access-jwt-assertion", "{}"), ("cf-access-token", "other")],
    ],
)
def test_the_header_is_found_in_any_kind_of_request(team: Team, headers: Any) -> None:
    """A mapping or pairs, in whatever case."""
    token = team.sign()
    filled: Any = (
        {name: value.format(token) for name, value in headers.items()}
        if isinstance(headers, dict)
        else [(name, value.format(token)) for name, value in headers]
    )
    assert team.verifier().verify_request(filled).email == "user@example.com"


def test_only_the_one_header_counts(team: Team) -> None:
    """Missing, doubled, or in another header or cookie: refused, good token or not."""
    token, verifier = team.sign(), team.verifier()
    cases: list[tuple[str, Any]] = [
        ("missing", {}),
        ("missing", {"Authorization": f"Bearer {token}", "Cookie": f"CF_Authorization={token}", "Cf-Access-Token": token}),
        ("missing", {"Cf-Access-Authenticated-User-Email": "user@example.com"}),
        ("duplicate", [("Cf-Access-Jwt-Assertion", token), ("cf-access-jwt-assertion", token)]),
        ("malformed", {"Cf-Access-Jwt-Assertion": f"{token}, {token}"}),
    ]
    for reason, headers in cases:
        with pytest.raises(AccessDeniedError) as caught:
            verifier.verify_request(headers)
        assert caught.value.reason == reason
    assert team.fetches == 0


@pytest.mark.parametrize("aud", ["", " ", [], [""], ["good", ""], "pasted \n"])
def test_without_an_audience_there_is_no_verifier(aud: Any) -> None:
    """Half configured is an error at start, not an open door."""
    with pytest.raises(UsageError, match="audience"):
        AccessVerifier("my-team", aud)


@pytest.mark.parametrize("team_name", ["", "a b", "my-team.evil.example", "https://evil.example", "-x", "a/b", "team\n"])
def test_an_odd_team_is_refused(team_name: str) -> None:
    """A team is one name; nothing else leads to keys."""
    with pytest.raises(UsageError, match="no Access team"):
        AccessVerifier(team_name, AUD)


@pytest.mark.parametrize(
    "team_name", ["my-team", "My-Team", "my-team.cloudflareaccess.com", "https://my-team.cloudflareaccess.com/"]
)
def test_a_team_may_be_pasted_as_its_address(team_name: str) -> None:
    """The name alone, the host, and the URL mean the same."""
    assert AccessVerifier(team_name, AUD).issuer == ISSUER


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=200))
def test_any_text_is_refused_without_surprise(text: str) -> None:
    """Whatever is sent, the answer is a refusal and never another error, and nothing is fetched."""

    def fetch(url: str) -> bytes:
        raise AssertionError(f"fetched {url}")

    with pytest.raises(AccessDeniedError):
        AccessVerifier("my-team", AUD, fetch=fetch).verify(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["iss", "aud", "exp", "iat", "nbf", "email"]), JSON | st.just(ISSUER)))
def test_any_claims_are_refused_without_surprise(claims: dict[str, Any]) -> None:
    """Odd types of claims are refused like wrong ones (the audience here is never right)."""
    with pytest.raises(AccessDeniedError):
        identify(claims, now=0.0, issuer=ISSUER, audiences={AUD}, leeway=60)
