"""The notations of `local_addr`."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.config.checker import read
from prx.config.local_addr import LocalAddr
from prx.config.schema import TunnelSettings
from prx.config.this_machine import is_this_machine

OWN = socket.gethostname()


@pytest.mark.parametrize(
    ("text", "shown", "host", "port", "url"),
    [
        ("8080", "127.0.0.1:8080", "127.0.0.1", 8080, "http://127.0.0.1:8080"),
        ("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1", 1, "http://127.0.0.1:1"),
        ("localhost:65535", "localhost:65535", "localhost", 65535, "http://localhost:65535"),
        ("my_service.internal:80", "my_service.internal:80", "my_service.internal", 80, "http://my_service.internal:80"),
        ("[::1]:3000", "[::1]:3000", "::1", 3000, "http://[::1]:3000"),
        ("http://localhost:5173", "localhost:5173", "localhost", 5173, "http://localhost:5173"),
        ("http://localhost:5173/", "localhost:5173", "localhost", 5173, "http://localhost:5173"),
        ("http://box", "box:80", "box", 80, "http://box:80"),
        ("https://box", "https://box:443", "box", 443, "https://box:443"),
        ("https://[::1]:8443", "https://[::1]:8443", "::1", 8443, "https://[::1]:8443"),
        ("https://[::1]", "https://[::1]:443", "::1", 443, "https://[::1]:443"),
        (":8080", "127.0.0.1:8080", "127.0.0.1", 8080, "http://127.0.0.1:8080"),
        ("https://:8443", "https://127.0.0.1:8443", "127.0.0.1", 8443, "https://127.0.0.1:8443"),
        ("localhost", "localhost:80", "localhost", 80, "http://localhost:80"),
        ("app.localhost", "app.localhost:80", "app.localhost", 80, "http://app.localhost:80"),
        ("127.0.0.1", "127.0.0.1:80", "127.0.0.1", 80, "http://127.0.0.1:80"),
        ("[::1]", "[::1]:80", "::1", 80, "http://[::1]:80"),
        ("http://[::1%lo]:80", "[::1%lo]:80", "::1%lo", 80, "http://[::1%25lo]:80"),
        ("[fe80::1%eth0]", "[fe80::1%eth0]:80", "fe80::1%eth0", 80, "http://[fe80::1%25eth0]:80"),
        ("https://[fe80::1%25eth0]", "https://[fe80::1%eth0]:443", "fe80::1%eth0", 443, "https://[fe80::1%25eth0]:443"),
        ("é:80", "xn--9ca:80", "xn--9ca", 80, "http://xn--9ca:80"),
        ("_box:80", "_box:80", "_box", 80, "http://_box:80"),
        ("box.internal.:80", "box.internal:80", "box.internal", 80, "http://box.internal:80"),
        ("https://localhost.", "https://localhost:443", "localhost", 443, "https://localhost:443"),
        ("web.1:80", "web.1:80", "web.1", 80, "http://web.1:80"),
        ("bücher.internal:80", "xn--bcher-kva.internal:80", "xn--bcher-kva.internal", 80, "http://xn--bcher-kva.internal:80"),
    ],
)
def test_notations(text: str, shown: str, host: str, port: int, url: str) -> None:
    """Every notation leads to one host, port and URL, and to a text that says the same when read again."""
    settings = TunnelSettings(local_addr=text)
    assert (settings.local_addr, settings.origin_host, settings.origin_port, settings.origin_url) == (shown, host, port, url)
    assert str(LocalAddr.parse(shown)) == shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "PORT, HOST:PORT"),
        ("web", "PORT, HOST:PORT"),
        ("localhost:", "PORT, HOST:PORT"),
        (":", "PORT, HOST:PORT"),
        ("::1", "PORT, HOST:PORT"),
        ("1.2.3", "PORT, HOST:PORT"),
        (":0", "from 1 to 65535"),
        ("::1:8080", "PORT, HOST:PORT"),
        ("[]:80", "PORT, HOST:PORT"),
        ("[localhost]:80", "PORT, HOST:PORT"),
        ("[1::2::3]:80", "PORT, HOST:PORT"),
        ("http://[:::]:80", "PORT, HOST:PORT"),
        ("[::1%lo:80", "PORT, HOST:PORT"),
        ("-x:80", "PORT, HOST:PORT"),
        ("a b:80", "PORT, HOST:PORT"),
        ("host:80\n", "PORT, HOST:PORT"),
        ("host:８０", "PORT, HOST:PORT"),
        ("0", "from 1 to 65535"),
        ("65536", "from 1 to 65535"),
        ("123456", "from 1 to 65535"),
        ("host:0", "from 1 to 65535"),
        ("unix:/run/app.sock", "Unix socket"),
        ("tcp://host:80", "http or https"),
        ("http://user@host:80", "without a user name"),
        ("http://host:80/path", "without a path"),
        ("http://host:80?x", "without a path"),
        ("http://[::1", "PORT, HOST:PORT"),
        ("http://", "PORT, HOST:PORT"),
        ("http://host:abc", "PORT, HOST:PORT"),
        ("a..b:80", "between its dots"),
        (".a:80", "between its dots"),
        ("http://a..b", "between its dots"),
        ("é..b:80", "letters that DNS can hold"),
        (f"{'a' * 64}:80", "at most 63 characters"),
        (f"http://{'a' * 64}.internal:80", "at most 63 characters"),
        (f"{'.'.join(['a' * 63] * 4)}:80", "at most 253 characters"),
        ("a.-b:80", "without a dash"),
        ("a-.b:80", "without a dash"),
        ("-é:80", "without a dash"),
        ("*.internal:80", "letters, digits and dashes"),
        ("user:pass@host:80", "PORT, HOST:PORT"),
        ("user@host:80", "letters, digits and dashes"),
        ("\ud800:80", "letters that DNS can hold"),
        ("999.1.1.1:80", "four numbers"),
        ("1.2.3:80", "four numbers"),
        ("127.1:80", "four numbers"),
        ("2130706433:80", "four numbers"),
        ("0x7f.0.0.1:80", "four numbers"),
        ("0127.0.0.1:80", "four numbers"),
        ("224.0.0.1:80", "takes connections"),
        ("255.255.255.255:80", "takes connections"),
        ("[ff02::1]:80", "takes connections"),
        ("[fe80::1]:80", "network interface"),
        ("http://a\nb:80", "control characters"),
        ("ht\ttp://a:80", "control characters"),
        (" 80", "without spaces"),
        ("host: 80", "without spaces"),
        ("host:-1", "from 1 to 65535"),
        ("host:٣", "from 1 to 65535"),
        ("host:000080", "from 1 to 65535"),
    ],
)
def test_refused(text: str, words: str) -> None:
    """What is not an address of a local HTTP service is refused with what is expected."""
    with pytest.raises(ValueError, match=words):
        LocalAddr.parse(text)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("https://127.0.0.1:8443", True),
        ("https://[::1]:8443", True),
        ("https://localhost:8443", True),
        ("https://app.localhost:8443", True),
        ("https://LOCALHOST:8443", True),
        ("https://0.0.0.0:8443", True),
        ("https://[::]:8443", True),
        ("https://127.8.9.1:8443", True),
        (f"https://{OWN}:8443", True),
        (f"https://{OWN.partition('.')[0].upper()}:8443", True),
        (f"https://{OWN.partition('.')[0]}.local:8443", True),
        (f"https://{OWN}x:8443", False),
        ("https://web1:8443", False),
        ("https://192.0.2.7:8443", False),
        ("https://example.com", False),
    ],
)
def test_this_machine_is_told_from_others(text: str, local: bool) -> None:
    """Only this machine's own names and addresses are local; a name that ends in a digit is a name."""
    assert LocalAddr.parse(text).is_local is local


def test_an_own_address_is_this_machine() -> None:
    """Whatever address an interface has leads to this machine, and one that none has does not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the interface
        except OSError:
            pytest.skip("this machine has no address beyond loopback")
        own = probe.getsockname()[0]
    assert LocalAddr.parse(f"https://{own}:8443").is_local
    assert not LocalAddr.parse("https://192.0.2.1:8443").is_local
    assert not is_this_machine("224.0.0.1")


@given(st.from_regex(r"(https?://)?\[?[0-9a-f:.%lo]{1,12}\]?(:[0-9]{1,5})?/?", fullmatch=True))
def test_what_is_taken_is_taken_again(text: str) -> None:
    """An address that is accepted is written in a form that is accepted, and means the same."""
    try:
        first = LocalAddr.parse(text)
    except ValueError:
        return
    assert LocalAddr.parse(str(first)) == first
    assert LocalAddr.parse(first.url) == first


def test_a_number_is_a_port() -> None:
    """`local_addr = 8080`, without quotes, is what `prx start 8080` is; true is no number."""
    assert read(TunnelSettings, {"local_addr": 8080}).origin_url == "http://127.0.0.1:8080"
    for wrong in (0, 65536, -1, True, 80.5):
        with pytest.raises(ValueError, match="local_addr"):
            read(TunnelSettings, {"local_addr": wrong})
