"""What prx finds out if this machine has no descriptor left for it: nothing, which is no fault of the other side."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from tests.runtime.contexts import shared
from tests.support.lacks import no_descriptors
from tests.support.servers import Servers, answer

from prx.backends.base import EdgeSite
from prx.config.schema import TunnelSettings
from prx.core.errors import PermanentError, PrxError
from prx.core.evidence import Evidence, Origin, Public, Reach, Unasked
from prx.runtime.child_monitor import ChildMonitor
from prx.runtime.context import TunnelContext
from prx.runtime.origin_trust import require_origin_ca
from prx.runtime.probes.connect import ProbeError
from prx.runtime.probes.edge import EdgeWatch
from prx.runtime.probes.origin import Trust, probe_origin
from prx.runtime.probes.public import probe_public
from prx.runtime.probes.resolver import Resolver
from prx.testing.clock import ManualClock
from prx.traffic.live_tls import LiveTls

READY = b'{"status":200,"readyConnections":4,"connectorId":"x"}'
FIRST, SECOND = trustme.CA().cert_pem.bytes(), trustme.CA().cert_pem.bytes()


async def test_the_public_url_was_not_asked(servers: Servers) -> None:
    """That it does not answer is not known; what is asked in vain at another machine was asked."""
    served = await servers.canned(answer(200, b"ok"))
    url = f"http://a.localhost:{served.port}/"
    with no_descriptors():
        found = await probe_public(url, ["127.0.0.1"])
    assert (found.status, found.unasked) == (None, Unasked.FOR_NOW)
    assert "Too many open files" in found.error
    assert (await probe_public(url, ["127.0.0.1"])).status == 200


async def test_a_refusal_is_an_answer(unused_port: int) -> None:
    """A port that is closed, here or in public, is known to be."""
    public = await probe_public(f"http://a.localhost:{unused_port}/", ["127.0.0.1"])
    origin = await probe_origin("127.0.0.1", unused_port)
    assert not public.unasked
    assert not origin.unasked


async def test_the_service_was_not_asked(servers: Servers) -> None:
    """It may well be there."""
    served = await servers.canned(answer(404, b"no"))
    with no_descriptors():
        found = await probe_origin("127.0.0.1", served.port)
    assert (found.status, found.unasked, found.silent) == (None, Unasked.FOR_NOW, False)
    assert "ulimit -n" in found.hint


@pytest.mark.parametrize(
    ("public", "unasked", "lacking"),
    [
        (Public(None, "no descriptor", unasked=Unasked.FOR_NOW), Unasked.NO, "no descriptor"),
        (Public(None, "no CA file", unasked=Unasked.AS_SET_UP), Unasked.NO, ""),
        (Public(404), Unasked.FOR_NOW, "no thread"),
        (Public(404), Unasked.AS_SET_UP, ""),
        (Public(None, "connection refused"), Unasked.NO, ""),
    ],
    ids=["the URL", "the URL, as set up", "the service", "the settings", "an answer"],
)
def test_a_round_without_one_of_its_parts_is_none(public: Public, unasked: Unasked, lacking: str) -> None:
    """What both say is needed to blame one; what the settings do not let prx ask is not lacking for now."""
    origin = Origin("127.0.0.1:80", False, error="no thread", unasked=unasked)
    assert Evidence(0.0, public=public, origin=origin).lacking == lacking


async def test_the_edge_was_not_dialled(servers: Servers) -> None:
    """It is unknown whether it can be reached, also if the edge is a lab that was joined: that is not called gone."""
    served = await servers.canned(answer(200, b"ok"))
    clock = ManualClock()
    site = EdgeSite(edge_addrs=(f"127.0.0.1:{served.port}",), local=True, joined=f"http://127.0.0.1:{served.port}")
    edge = EdgeWatch(site, Resolver((), clock=clock), clock)
    with no_descriptors():
        found = await edge.dial(quic=True)
    assert (found.tcp, found.gone_lab) == (Reach.UNKNOWN, "")
    clock.advance(10)
    assert (await edge.dial(quic=False)).tcp is Reach.CLOSED, "it does not speak TLS"


async def test_a_child_is_not_called_silent(tmp_path: Path, servers: Servers) -> None:
    """What could not be asked has not kept silent, however long that lasts; one that is asked and is silent has."""
    clock = ManualClock()
    served = await servers.canned(answer(200, READY))
    child = ChildMonitor(TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock)), "quic", served.port)
    assert await child.check_ready()
    child._endpoints.close()
    with no_descriptors():
        for _ in range(20):
            clock.advance(10)
            assert not await child.check_ready()
            assert await child.counters() is None
        seen = child.evidence()
    assert (seen.ready, seen.answers, seen.silent_for) == (4, True, 0.0)
    await servers.close()
    child._endpoints.close()
    for _ in range(3):
        clock.advance(10)
        await child.check_ready()
    assert (child.evidence().ready, child.evidence().answers) == (0, False)


def https(file: Path) -> TunnelSettings:
    """Return a service whose certificate is checked with `file`."""
    return TunnelSettings(local_addr="https://127.0.0.1:8443", origin_ca=str(file))


def test_certificates_that_cannot_be_read_for_now_end_no_tunnel(tmp_path: Path) -> None:
    """Another try can help, so this is no mistake in the settings."""
    file = tmp_path / "ca.pem"
    file.write_bytes(FIRST)
    with no_descriptors(), pytest.raises(PrxError) as caught:
        require_origin_ca(https(file))
    assert not isinstance(caught.value, PermanentError)
    assert "ulimit -n" in caught.value.hint
    require_origin_ca(https(file))


def test_a_relay_reads_its_certificates_once_it_can(tmp_path: Path) -> None:
    """Nothing is said of a file that is sound, and its certificates count from the next connection on."""
    file, said = tmp_path / "ca.pem", list[str]()
    file.write_bytes(FIRST)
    tls = LiveTls(Trust(True, file), "service.example", said.append)
    with no_descriptors(), pytest.raises(ProbeError):
        tls.require()
    first = tls.context()
    assert FIRST in _authorities(first)
    file.unlink()
    file.write_bytes(SECOND)
    with no_descriptors():
        assert tls.context() is first
    assert SECOND in _authorities(tls.context())
    assert said == []


def _authorities(context: ssl.SSLContext) -> list[bytes]:
    return [ssl.DER_cert_to_PEM_cert(found).encode() for found in context.get_ca_certs(binary_form=True)]
