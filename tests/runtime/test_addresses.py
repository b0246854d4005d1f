"""Which addresses lead to Cloudflare."""

import pytest

from prx.runtime.probes.addresses import strays

CLOUDFLARE = [["104.16.132.229"], ["172.67.1.2", "104.21.3.4"], ["2606:4700::6810:84e5"], ["198.41.128.9"]]
ELSEWHERE = [["203.0.113.9"], ["8.8.8.8", "1.2.3.4"], ["2001:db8::1"], ["93.184.216.34"]]
PRIVATE = [["fd10:aec2:5dae::1"], ["10.0.0.7"], ["192.168.1.2", "127.0.0.1"], ["169.254.1.1"], ["100.64.0.1"]]


@pytest.mark.parametrize("addresses", CLOUDFLARE)
def test_cloudflares_ranges_are_known(addresses: list[str]) -> None:
    """An address in the published ranges is no stray; nor is a name of which one address is there, or none is known."""
    assert strays("app.example.com", addresses, local=False) == ""
    assert strays("app.example.com", [*addresses, "203.0.113.9"], local=False) == ""
    assert strays("app.example.com", [], local=False) == ""


@pytest.mark.parametrize("addresses", [*ELSEWHERE, *PRIVATE])
def test_what_leads_elsewhere_is_named(addresses: list[str]) -> None:
    """The name and its addresses are reported, with what is wrong with them."""
    words = strays("app.example.com", addresses, local=False)
    assert words.startswith(f"app.example.com resolves to {addresses[0]}")


@pytest.mark.parametrize("addresses", PRIVATE)
def test_an_address_that_no_visitor_reaches_is_told_as_such(addresses: list[str]) -> None:
    """What a grey cloud gives (fd10:…), a private network, loopback."""
    assert "no visitor can reach" in strays("app.example.com", addresses, local=False)


def test_in_the_lab_loopback_is_the_edge() -> None:
    """The lab's names lead to this machine, and nowhere else."""
    assert strays("app.localhost", ["127.0.0.1"], local=True) == ""
    assert strays("app.localhost", ["::1"], local=True) == ""
    assert strays("app.localhost", ["104.16.132.229"], local=True)
