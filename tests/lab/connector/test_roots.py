"""Which certificates are trusted: the same over HTTP/2, over QUIC, and for services."""

import ssl
from pathlib import Path

import pytest
import trustme
from tests.lab.connector.bench import Bench
from tests.lab.connector.child import started

from prx.lab.connector.roots import system_roots


@pytest.fixture
def authority() -> bytes:
    """Return a certificate of an authority, as PEM."""
    return trustme.CA().cert_pem.bytes()


def test_where_they_come_from(tmp_path: Path, authority: bytes) -> None:
    """The file and the folders of the environment are read, whatever their files are called, each certificate once."""
    other = trustme.CA().cert_pem.bytes()
    (tmp_path / "file").write_bytes(b"# words\n" + authority)
    broken = b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"
    for number, content in enumerate((other, authority, b"no certificate", broken)):
        (tmp_path / f"folder{number}").mkdir()
        (tmp_path / f"folder{number}" / "any name").write_bytes(content)
    folders = ":".join(str(tmp_path / f"folder{number}") for number in range(5))
    found = system_roots({"SSL_CERT_FILE": str(tmp_path / "file"), "SSL_CERT_DIR": folders})
    assert found.count(b"BEGIN") == 2
    assert authority.strip() in found
    assert other.strip() in found
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=found.decode())
    assert len(context.get_ca_certs()) == 2


@pytest.mark.parametrize("file", ["/nonexistent/file", "/dev/null", "/"])
def test_nothing_there(tmp_path: Path, file: str) -> None:
    """Without a certificate nothing is trusted, and above all not what some package contains."""
    assert system_roots({"SSL_CERT_FILE": file, "SSL_CERT_DIR": str(tmp_path)}) == b""


async def _registers(bench: Bench, **environment: str) -> bool:
    """Start a connector without `--cacert`, and see whether it trusts the edge."""
    words = bench.arguments()
    at = words.index("--cacert")
    async with started([*words[:at], *words[at + 2 :]], bench.home, command=bench.command, **environment) as child:
        line = await child.any_line("Registered tunnel connection", "certificate signed by unknown authority")
    return "Registered" in line


@pytest.mark.parametrize("how", ["file", "folder", "file beside a folder"])
async def test_an_edge_that_the_system_trusts(bench: Bench, tmp_path: Path, how: str) -> None:
    """`SSL_CERT_FILE` and `SSL_CERT_DIR` make either connector trust an edge, over either protocol."""
    folder = tmp_path / "roots"
    folder.mkdir()
    (folder / "edge.pem").write_bytes(bench.edge.ca.read_bytes())
    (tmp_path / "empty").mkdir()
    environment = {
        "file": {"SSL_CERT_FILE": str(bench.edge.ca)},
        "folder": {"SSL_CERT_DIR": f"{tmp_path / 'empty'}:{folder}"},
        "file beside a folder": {"SSL_CERT_FILE": str(bench.edge.ca), "SSL_CERT_DIR": str(tmp_path / "empty")},
    }[how]
    assert await _registers(bench, **environment)


async def test_an_edge_that_nobody_trusts(bench: Bench, authority: bytes, tmp_path: Path) -> None:
    """An edge whose authority is unknown is refused, over either protocol, in the same words."""
    (tmp_path / "other").write_bytes(authority)
    assert not await _registers(bench, SSL_CERT_FILE=str(tmp_path / "other"))
