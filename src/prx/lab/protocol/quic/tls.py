"""The server's side of TLS 1.3 with the hybrid key exchange X25519MLKEM768, for aioquic.

cloudflared 2026.8.2 sends a key share of this group alone; aioquic knows neither the group nor HelloRetryRequest, with
which a server could ask for another one. The exchange itself is small (draft-ietf-tls-ecdhe-mlkem): the client sends an
ML-KEM-768 encapsulation key (1,184 bytes) and an X25519 key (32), the server answers with a ciphertext (1,088) and its
own X25519 key (32); the shared secret is ML-KEM's followed by X25519's.

What follows the exchange is written out here, for aioquic does it all in one method. Without session tickets and client
certificates it is short: ServerHello, EncryptedExtensions, Certificate, CertificateVerify, Finished (RFC 8446, 2).
"""

from __future__ import annotations

import os
from typing import Final

from aioquic import tls
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, though not by __all__
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.serialization import Encoding

X25519MLKEM768: Final = 0x11EC
_ENCAPSULATION_KEY: Final = 1184
_X25519_KEY: Final = 32


def answer_share(share: bytes) -> tuple[bytes, bytes]:
    """Return the server's share and the shared secret for a client's share; AlertIllegalParameter if it is not one."""
    if len(share) != _ENCAPSULATION_KEY + _X25519_KEY:
        raise tls.AlertIllegalParameter("ClientHello has an X25519MLKEM768 share of a wrong length")
    ephemeral = x25519.X25519PrivateKey.generate()
    try:
        encapsulation_key = mlkem.MLKEM768PublicKey.from_public_bytes(share[:_ENCAPSULATION_KEY])
        secret, ciphertext = encapsulation_key.encapsulate()
        secret += ephemeral.exchange(x25519.X25519PublicKey.from_public_bytes(share[_ENCAPSULATION_KEY:]))
    except ValueError as error:
        raise tls.AlertIllegalParameter("ClientHello has an invalid X25519MLKEM768 share") from error
    return ciphertext + ephemeral.public_key().public_bytes_raw(), secret


class HybridContext(tls.Context):
    """A server that agrees on X25519MLKEM768 if the client offers a share of it, and else does as aioquic does."""

    def _server_handle_hello(self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer) -> None:
        hello = tls.pull_client_hello(input_buf)
        share = dict(hello.key_share or ()).get(X25519MLKEM768)
        if share is None:
            input_buf.seek(0)
            super()._server_handle_hello(input_buf, initial_buf, handshake_buf)
            return
        cipher_suite, signature = self._choose(hello)
        answer, secret = answer_share(share)
        self.key_schedule = tls.KeySchedule(cipher_suite)
        self.key_schedule.extract(None)
        self.key_schedule.update_hash(input_buf.data)
        self._send_hello(initial_buf, hello, (X25519MLKEM768, answer))
        self.key_schedule.extract(secret)
        self._setup_traffic_protection(tls.Direction.ENCRYPT, tls.Epoch.HANDSHAKE, b"s hs traffic")
        self._setup_traffic_protection(tls.Direction.DECRYPT, tls.Epoch.HANDSHAKE, b"c hs traffic")
        self._send_identity(handshake_buf, signature)
        self.key_schedule.extract(None)
        self._setup_traffic_protection(tls.Direction.ENCRYPT, tls.Epoch.ONE_RTT, b"s ap traffic")
        self._next_dec_key = self.key_schedule.derive_secret(b"c ap traffic")
        self._server_expect_finished()

    def _choose(self, hello: tls.ClientHello) -> tuple[tls.CipherSuite, int]:
        """Choose what both sides know, and pass the client's extensions to QUIC."""
        cipher_suite = tls.negotiate(
            self._cipher_suites, hello.cipher_suites, tls.AlertHandshakeFailure("no common cipher suite")
        )
        signature = tls.negotiate(
            self._signature_algorithms_for_private_key(),
            hello.signature_algorithms,
            tls.AlertHandshakeFailure("no common signature algorithm"),
        )
        tls.negotiate(
            self._supported_versions, hello.supported_versions, tls.AlertProtocolVersion("the client does not know TLS 1.3")
        )
        self.alpn_negotiated = tls.negotiate(
            self._alpn_protocols or [], hello.alpn_protocols, tls.AlertNoApplicationProtocol("no common protocol (ALPN)")
        )
        self.client_random = hello.random
        self.legacy_session_id = hello.legacy_session_id
        self.received_extensions = hello.other_extensions
        if self.alpn_cb is not None:
            self.alpn_cb(self.alpn_negotiated)
        return cipher_suite, signature

    def _send_hello(self, buffer: Buffer, hello: tls.ClientHello, share: tuple[int, bytes]) -> None:
        self.server_random = os.urandom(32)
        answer = tls.ServerHello(
            random=self.server_random,
            legacy_session_id=hello.legacy_session_id,
            cipher_suite=self._schedule.cipher_suite,
            compression_method=tls.CompressionMethod.NULL,
            key_share=share,
            supported_version=tls.TLS_VERSION_1_3,
        )
        with tls.push_message(self._schedule, buffer):
            tls.push_server_hello(buffer, answer)

    def _send_identity(self, buffer: Buffer, signature_algorithm: int) -> None:
        """Send the encrypted part: extensions, certificates, the proof of their key, and the end."""
        schedule = self._schedule
        extensions = tls.EncryptedExtensions(
            alpn_protocol=self.alpn_negotiated, early_data=False, other_extensions=self.handshake_extensions
        )
        with tls.push_message(schedule, buffer):
            tls.push_encrypted_extensions(buffer, extensions)
        chain = [self.certificate, *self.certificate_chain]
        certificates = [(certificate.public_bytes(Encoding.DER), b"") for certificate in chain if certificate is not None]
        with tls.push_message(schedule, buffer):
            tls.push_certificate(buffer, tls.Certificate(request_context=b"", certificates=certificates))
        signed = self.certificate_private_key.sign(  # type: ignore[union-attr]  # a server has one, aioquic says
            schedule.certificate_verify_data(tls.SERVER_CONTEXT_STRING),
            *tls.signature_algorithm_params(signature_algorithm),
        )
        with tls.push_message(schedule, buffer):
            tls.push_certificate_verify(buffer, tls.CertificateVerify(algorithm=signature_algorithm, signature=signed))
        with tls.push_message(schedule, buffer):
            tls.push_finished(buffer, tls.Finished(verify_data=schedule.finished_verify_data(self._enc_key or b"")))

    @property
    def _schedule(self) -> tls.KeySchedule:
        assert self.key_schedule is not None, "the key schedule is set up before anything is sent"
        return self.key_schedule
