"""One answer to "does it stay on this machine?", for tokens, keys, downloads and DNS alike."""

import pytest

from prx.access.jwks import checked_url
from prx.config.checks import doh_url
from prx.core.errors import UsageError
from prx.core.hosts import is_loopback, is_private_channel
from prx.runtime.probes.access import probe_headers, service_token
from prx.runtime.probes.doh import Server
from prx.secrets.value import Secret

HERE = ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST", "app.localhost", "localhost."]
ELSEWHERE = ["192.0.2.1", "10.0.0.1", "2001:db8::1", "example.com", "localhost.example.com", "notlocalhost", "0.0.0.0", ""]


@pytest.mark.parametrize("host", HERE)
def test_loopback(host: str) -> None:
    """All of 127/8, ::1, localhost and names under it stay on this machine, so that plain http is private there."""
    assert is_loopback(host)
    assert is_private_channel("http", host)
    assert not is_private_channel("ftp", host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_elsewhere(host: str) -> None:
    """Every other host is reached over the network: only https is private there, and no host at all never is."""
    assert not is_loopback(host)
    assert not is_private_channel("http", host)
    assert is_private_channel("https", host) is bool(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]"])
def test_rooms_agree_about_this_machine(host: str) -> None:
    """What is sent over plain http to this machine is the same for a service token, Access keys and DNS over HTTPS."""
    token = service_token("id", Secret("secret"))
    assert probe_headers(token, f"http://{host}/", host.strip("[]"))
    assert checked_url(f"http://{host}/certs")
    assert doh_url(f"http://{host}/dns-query")
    assert str(Server.at(f"http://{host}/dns-query")) == host.strip("[]")


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
def test_rooms_agree_about_other_machines(host: str) -> None:
    """Over plain http to another machine no token is sent, no key is fetched and no resolver is asked."""
    token = service_token("id", Secret("secret"))
    assert probe_headers(token, f"http://{host}/", host.strip("[]")) == {}
    with pytest.raises(UsageError):
        checked_url(f"http://{host}/certs")
    with pytest.raises(ValueError, match="https"):
        doh_url(f"http://{host}/dns-query")
    with pytest.raises(ValueError, match="https"):
        Server.at(f"http://{host}/dns-query")
