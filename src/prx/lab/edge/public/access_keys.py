"""The lab's Access team: keys that sign, the tokens that they sign, and the document that publishes them.

What a token says is what Cloudflare documents (developers.cloudflare.com, "Application token"): a person has `email`,
`sub`, `nbf` and `country`; a service token has `common_name` (its client id), an empty `sub`, its audience as plain text,
and neither `email` nor `nbf`. As there, one former key stays published after a rotation, so that the tokens it signed
remain good; a second rotation withdraws it.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

_PUBLISHED: Final = 2
_ALGORITHM: Final = "RS256"
_META_SECONDS: Final = 300.0
_VALIDITY: Final = dt.timedelta(days=60)


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str
    private: rsa.RSAPrivateKey
    certificate: str  # PEM, signed by the key itself

    @classmethod
    def new(cls, now: float) -> _Key:
        private = rsa.generate_private_key(65537, 2048)
        return cls(secrets.token_hex(32), private, _certify(private, dt.datetime.fromtimestamp(now, dt.UTC)))

    def public(self) -> dict[str, Any]:
        key: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.private.public_key()))
        return {"kid": self.kid, "kty": "RSA", "alg": _ALGORITHM, "use": "sig", "e": key["e"], "n": key["n"]}


class AccessKeys:
    """Signs and publishes; `wall` returns seconds since 1970. The first key is made when first needed: that takes time."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._keys: list[_Key] = []

    def now(self) -> float:
        """Return the time that tokens are dated by."""
        return self._wall()

    def rotate(self) -> None:
        """Sign with a new key from now on; of the former ones only the last stays published."""
        if not self._keys:
            self._keys = [_Key.new(self._wall())]
        self._keys = [_Key.new(self._wall()), *self._keys][:_PUBLISHED]

    def document(self) -> dict[str, Any]:
        """Return the document of public keys, the signing key first: as JWKS, and each as a certificate."""
        self._signing_key()
        certificates = [{"kid": key.kid, "cert": key.certificate} for key in self._keys]
        return {"keys": [key.public() for key in self._keys], "public_cert": certificates[0], "public_certs": certificates}

    def sign_person(self, email: str, *, aud: str, issuer: str, seconds: float) -> str:
        """Return a token that names a person, good for so many seconds."""
        subject = str(uuid5(NAMESPACE_URL, f"mailto:{email}"))
        nonce = secrets.token_urlsafe(12)
        claims = {"aud": [aud], "email": email, "sub": subject, "identity_nonce": nonce, "country": "XX"}
        return self._sign({**claims, "nbf": int(self._wall())}, issuer, seconds)

    def sign_service(self, client_id: str, *, aud: str, issuer: str, seconds: float) -> str:
        """Return a token that names a service token, good for so many seconds."""
        return self._sign({"aud": aud, "common_name": client_id, "sub": ""}, issuer, seconds)

    def sign_meta(self, claims: Mapping[str, Any], *, issuer: str) -> str:
        """Return the token that a redirect to the login carries: what the login has to know of the visitor."""
        return self._sign({**claims, "nbf": int(self._wall())}, issuer, _META_SECONDS, kind="meta")

    def read(self, token: str, *, aud: str, issuer: str) -> Mapping[str, Any] | None:
        """Return the claims of a token of this team's, None if it is not good."""
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = next(key for key in self._keys if key.kid == kid)
            claims: dict[str, Any] = jwt.decode(
                token,
                key.private.public_key(),
                algorithms=[_ALGORITHM],
                audience=aud,
                issuer=issuer,
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},  # by the lab's clock, below
            )
        except (jwt.PyJWTError, StopIteration):
            return None
        return claims if claims.get("type") == "app" and self._wall() < claims["exp"] else None

    def _sign(self, claims: dict[str, Any], issuer: str, seconds: float, *, kind: str = "app") -> str:
        now = int(self._wall())
        key = self._signing_key()
        content = {**claims, "type": kind, "iss": issuer, "iat": now, "exp": now + int(seconds)}
        return jwt.encode(content, key.private, algorithm=_ALGORITHM, headers={"kid": key.kid})

    def _signing_key(self) -> _Key:
        if not self._keys:
            self._keys = [_Key.new(self._wall())]
        return self._keys[0]


def _certify(key: rsa.RSAPrivateKey, now: dt.datetime) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cloudflareaccess.com")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALIDITY)
        .not_valid_after(now + _VALIDITY)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
