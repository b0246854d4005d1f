"""TLS with a service whose CA is rotated under a relay."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from tests.support.waits import PATIENCE

from prx.runtime.probes.connect import ProbeError
from prx.runtime.probes.origin import Trust
from prx.traffic.live_tls import LiveTls


class Rotating:
    """A service whose certificates come from one authority, then from another."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.told: list[str] = []
        self.live = LiveTls(Trust(True, file, "app.test"), "127.0.0.1", self.told.append)

    async def accepted(self, by: trustme.CA) -> bool:
        """Return whether the next connection trusts a service with a certificate of this authority."""
        theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        by.issue_cert("app.test").configure_cert(theirs)
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=theirs)
        async with server, asyncio.timeout(PATIENCE):
            try:
                _, writer = await asyncio.open_connection(
                    *server.sockets[0].getsockname(), ssl=self.live.context(), server_hostname="app.test"
                )
            except ssl.SSLCertVerificationError:
                return False
            writer.transport.abort()
            return True


async def test_the_next_connection_trusts_what_the_file_holds_now(tmp_path: Path) -> None:
    """A rotated file is read without a reload; what is no certificate changes nothing, and is named once."""
    old, new = trustme.CA(), trustme.CA()
    here = Rotating(tmp_path / "ca.pem")
    here.file.write_bytes(old.cert_pem.bytes())
    here.live.require()
    assert await here.accepted(old)
    here.file.write_text("half a certif")
    assert await here.accepted(old)
    assert await here.accepted(old)
    assert len(here.told) == 1
    assert "holds no certificate (expected PEM); what was trusted before stays in force" in here.told[0]
    here.file.write_bytes(new.cert_pem.bytes())
    assert await here.accepted(new)
    assert not await here.accepted(old)
    here.file.unlink()
    assert await here.accepted(new)
    assert "cannot be read: No such file" in here.told[1]


async def test_a_file_that_comes_late_is_read(tmp_path: Path) -> None:
    """Without a file no certificate of an authority of its own is trusted; as soon as it is there it is."""
    authority = trustme.CA()
    here = Rotating(tmp_path / "ca.pem")
    with pytest.raises(ProbeError):
        here.live.require()
    assert not await here.accepted(authority)
    here.file.write_bytes(authority.cert_pem.bytes())
    assert await here.accepted(authority)
