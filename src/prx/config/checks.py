"""The forms of texts in the configuration. Each check returns its argument, or raises ValueError with what is expected.

The text of a ValueError completes "found …, expected …" and never repeats the value: the reporter adds that, and knows whether
it may be shown.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from prx.config.hostname import hostname, reachable_host, to_ascii
from prx.config.local_addr import LocalAddr
from prx.core.hosts import is_private_channel
from prx.core.status_codes import StatusSet

TUNNEL_NAME = r"[a-z0-9][a-z0-9-]{0,62}"
_MAIL_NAME = re.compile(r"[a-z0-9.!#$%&'+/=?^_`{|}~-]{1,64}")  # RFC 5322, 3.2.3, without quoted ones
_MAIL_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TEAM = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")  # a label of a host name
_ACCESS_DOMAIN = ".cloudflareaccess.com"


def tunnel_name(text: str) -> str:
    """Check the NAME of `[tunnels.NAME]`: it becomes a file name and a metric label."""
    if not re.fullmatch(TUNNEL_NAME, text):
        raise ValueError("a name of lower-case letters, digits and dashes, at most 63, that begins with a letter or digit")
    return text


def local_addr(text: str) -> str:
    """Check the address of the origin and return it with its host spelled out (`9000` becomes `127.0.0.1:9000`)."""
    return str(LocalAddr.parse(text))


def status_codes(text: str) -> str:
    """Check a set of HTTP status codes in the notation of `prx.core.status_codes`."""
    try:
        StatusSet.parse(text)
    except ValueError as error:
        raise ValueError("status codes such as 2xx, 204 or 200-399, several separated by commas") from error
    return text


def url_path(text: str) -> str:
    """Check a path for a GET: it begins with a slash and needs no quoting."""
    if not text.startswith("/") or not _printable_ascii(text):
        raise ValueError("a path that begins with / and has neither spaces nor other characters that need %-encoding")
    return text


def public_url(text: str) -> str:
    """Check the URL of a tunnel that another program keeps up, and return it without a trailing slash; empty is allowed."""
    if not text:
        return text
    expected = "an http or https URL such as https://app.example.com, without user name, query and fragment"
    text = _ascii_url(text)
    parts = _http_url(text, expected)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(expected)
    return text.rstrip("/")


def doh_url(text: str) -> str:
    """Check the address of a DNS-over-HTTPS resolver (RFC 8484)."""
    expected = "the URL of a DNS-over-HTTPS resolver with an IP address, such as https://1.1.1.1/dns-query"
    parts = _http_url(text, expected)
    if "@" in parts.netloc:
        raise ValueError(expected)
    try:  # a name would have to be resolved first, and that is what this is for
        ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        raise ValueError(expected) from None
    if not is_private_channel(parts.scheme, parts.hostname or ""):
        raise ValueError(f"{expected}: https, except to this machine itself")
    return text


def hook(text: str) -> str:
    """Check a hook: an http(s) URL to POST to, or a command line."""
    expected = "a command on one line, or an http or https URL to POST to"
    if not text.strip() or "\n" in text or "\0" in text:
        raise ValueError(expected)
    scheme = re.match(r"[a-z]+(?=://)", text, re.IGNORECASE)
    if scheme is None:
        return text
    text = _ascii_url(scheme[0].lower() + text[scheme.end() :])  # in any case (RFC 3986, 3.1), and compared in lower case
    _http_url(text, expected)
    return text


def notice_hook(text: str) -> str:
    """Check a hook of `on_change`: an http(s) URL, another address that apprise understands, or a command line."""
    if re.match(r"https?://", text, re.IGNORECASE):
        return hook(text)
    if not text.strip() or "\n" in text or "\0" in text:
        raise ValueError("a command on one line, an http or https URL to POST to, or an address of apprise")
    return text


def header_value(text: str) -> str:
    """Check a Host header, and return it as HTTP carries it; empty is allowed."""
    if not text.isascii():
        host, colon, port = text.partition(":")
        text = to_ascii(host) + colon + port
    if not _printable_ascii(text) or "/" in text:
        raise ValueError("a host name with or without a port, such as localhost:5173")
    return text


def file_path(text: str) -> str:
    """Check the path of a file; empty is allowed."""
    if "\0" in text or "\n" in text or text.endswith("/"):
        raise ValueError("the path of a file")
    return text


BUILTIN = "builtin"  # the connector that comes with prx, as a value of cloudflared_path
_PROGRAM = f'a program in PATH, the path of one, or "{BUILTIN}"'


def program(text: str) -> str:
    """Check the name or path of a program."""
    if not text.strip() or "\0" in text or "\n" in text:
        raise ValueError(_PROGRAM)
    return text


def origin_name(text: str) -> str:
    """Check the name that a certificate must carry; an address is one too, and empty is allowed."""
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        return hostname(text)


def program_path(text: str) -> str:
    """Check a program and return it with a leading `~` replaced by the home folder."""
    path = program(text)
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise ValueError(f"{_PROGRAM}: no home folder is known for that ~") from None


def access_team(text: str) -> str:
    """Check a Cloudflare Access team and return its name alone; the whole domain is understood too."""
    name = text.removeprefix("https://").rstrip("/").removesuffix(_ACCESS_DOMAIN)
    if name and not _TEAM.fullmatch(name):
        raise ValueError("the team's name: TEAM in https://TEAM.cloudflareaccess.com")
    return name


def access_audience(text: str) -> str:
    """Check an Access application's audience tag (64 hexadecimal digits as Cloudflare makes them, any one word here)."""
    if not _printable_ascii(text):
        raise ValueError("the application audience (AUD) tag, one word")
    return text


def mail_rule(text: str) -> str:
    """Check who may pass a quick tunnel, and return it in lower case: one mail address, or `*@DOMAIN`.

    The rules are those of cloudflared's `--allowed-mail`: ASCII only, a domain of another script as DNS has it (xn--…).
    """
    name, _, domain = text.strip().lower().rpartition("@")
    labels = domain.split(".")
    sound = len(domain) <= 253 and all(_MAIL_LABEL.fullmatch(label) for label in labels)
    if not sound or not (name == "*" or _MAIL_NAME.fullmatch(name)):
        raise ValueError("one mail address such as you@example.com, or *@example.com for every address of that domain")
    return f"{name}@{domain}"


def replica_protocol(text: str) -> str:
    """Check what one connector speaks with the edge."""
    if text not in {"quic", "http2"}:
        raise ValueError("quic or http2")
    return text


def network(text: str) -> str:
    """Check an address or a network, and return it as a network."""
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise ValueError("an address or a network such as 203.0.113.7 or 203.0.113.0/24") from None


def _printable_ascii(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)


def _ascii_url(text: str) -> str:
    """Return a URL with its host as DNS knows it; unchanged if it is in ASCII, or no URL."""
    if text.isascii():
        return text
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return text
    if host.isascii() or "@" in parts.netloc:
        return text
    return parts._replace(netloc=to_ascii(host) + port).geturl()


def _http_url(text: str, expected: str) -> SplitResult:
    """Return the parts of an absolute http(s) URL with a sound port and a host that can be connected to; else ValueError."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not _printable_ascii(text):  # urlsplit drops line breaks
        raise ValueError(expected)
    try:
        reachable_host((parts.hostname or "").replace("%25", "%"))
    except ValueError as error:
        raise ValueError(f"{expected}, and in it a host {error}") from None
    return parts


def listen_address(text: str) -> str:
    """Check where prx listens, and return it as HOST:PORT (an address, or localhost); empty is allowed."""
    if not text:
        return text
    expected = "HOST:PORT or PORT with an IP address or localhost, such as 127.0.0.1:9464 or [::]:9464"
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(expected)
    if host != "localhost":
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError:
            raise ValueError(expected) from None
    return f"[{host}]:{int(port)}" if ":" in host else f"{host}:{int(port)}"


def web_host(text: str) -> str:
    """Check a name under which the dashboard may be asked for: a host name without a port."""
    expected = "a host name without a port, such as prx.home.arpa"
    try:
        name = reachable_host(text).lower()
    except ValueError as error:
        raise ValueError(f"{expected}, {error}") from None
    if not re.fullmatch(r"[a-z0-9.-]+", name):
        raise ValueError(expected)
    return name
