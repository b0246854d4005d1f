"""The lab's own certificate authority: made at start, never written with its key, gone with the lab.

Only the CA's certificate is a file (`--cacert`). Server certificates are made in memory; Python's ssl module takes them
from a file only, so each passes through a file in the lab's private directory that is removed at once.
"""

from __future__ import annotations

import datetime as dt
import ssl
import tempfile
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from prx.lab.edge.public.management import HOST as MANAGEMENT_HOST
from prx.lab.protocol.quic.listener import Identity

EDGE_NAMES = ("h2.cftunnel.com", "quic.cftunnel.com", "probe.cftunnel.com")  # asked for by cloudflared 2026.8.2
_PUBLIC_ALPN = ("h2", "http/1.1")
_VALIDITY = dt.timedelta(days=7)
_NOT_LATE = dt.timedelta()
_SLACK = dt.timedelta(hours=1)  # for a clock that is a little behind


class Authority:
    """A certificate authority whose certificate lies in `directory` as `ca.pem`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "prx lab CA")])
        self._certificate = self._issue_ca()
        self.ca_file = directory / "ca.pem"
        self.ca_file.touch(mode=0o600)
        self.ca_file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def edge_context(self, *, expired: bool = False) -> ssl.SSLContext:
        """Return the server context for connectors; no ALPN is offered over TCP, as on Cloudflare's edge."""
        return self._context(EDGE_NAMES, expired=expired)

    def edge_identity(self, *, expired: bool = False) -> Identity:
        """Return the certificate and the key for connectors over QUIC."""
        pem = self._issue(EDGE_NAMES, expired=expired)
        key = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return Identity(x509.load_pem_x509_certificate(pem), key)

    def public_context(self) -> ssl.SSLContext:
        """Return the server context for visitors: it makes a certificate for each `….localhost` that is asked for.

        One wildcard would not do: OpenSSL accepts none directly below a top-level name.
        """
        context = self._context(("localhost",), alpn=_PUBLIC_ALPN)
        for_name = lru_cache(maxsize=256)(lambda name: self._context((name,), alpn=_PUBLIC_ALPN))

        def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            if name is not None and (name.endswith((".localhost", ".cloudflareaccess.com")) or name == MANAGEMENT_HOST):
                connection.context = for_name(name)

        context.sni_callback = choose
        return context

    def _context(self, names: tuple[str, ...], alpn: tuple[str, ...] = (), *, expired: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if alpn:
            context.set_alpn_protocols(list(alpn))
        with tempfile.NamedTemporaryFile(dir=self._directory, suffix=".pem") as file:  # created 0600
            file.write(self._issue(names, expired=expired))
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def _issue_ca(self) -> x509.Certificate:
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        return (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _issue(self, names: tuple[str, ...], *, expired: bool = False) -> bytes:
        """Make a key and a server certificate for `names`; both as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        # A common name holds at most 64 characters; clients check the alternative names alone.
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            self._builder(subject, key.public_key(), late=_VALIDITY + _SLACK if expired else _NOT_LATE)
            .add_extension(alternatives, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return private + certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, late: dt.timedelta = _NOT_LATE
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC) - late
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SLACK)
            .not_valid_after(now + _VALIDITY)
        )
