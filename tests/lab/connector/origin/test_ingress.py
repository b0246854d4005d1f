"""Ingress rules: how they are read, which one answers, and what a push changes."""

import json
from typing import Any

import pytest

from prx.lab.connector.log import Log
from prx.lab.connector.origin.ingress import (
    HelloService,
    HttpService,
    IngressError,
    OriginOptions,
    Service,
    StatusService,
    StreamService,
    UnixService,
    match,
    parse_rules,
    parse_service,
    parse_url_flag,
)
from prx.lab.connector.origin.rules_in_force import Configuration

RULES = parse_rules(
    {
        "originRequest": {"httpHostHeader": "all.test"},
        "ingress": [
            {"hostname": "a.test", "path": r"\.png$", "service": "http_status:201"},
            {
                "hostname": "a.test",
                "service": "http://127.0.0.1:1",
                "originRequest": {"connectTimeout": 5, "noTLSVerify": True},
            },
            {"hostname": "*.b.test", "service": "http_status:202"},
            {"hostname": "bücher.test", "service": "http_status:203"},
            {"path": "^/only", "service": "http_status:204"},
            {"service": "http_status:404"},
        ],
    }
)


@pytest.mark.parametrize(
    ("authority", "path", "index"),
    [
        ("a.test", "/x.png", 0), ("a.test:443", "/x", 1), ("a.test", "/png", 1), ("x.b.test", "/", 2), ("x.y.b.test:8", "/", 2),
        ("b.test", "/", 5), ("xn--bcher-kva.test", "/", 3), ("bücher.test", "/", 3), ("c.test", "/only/this", 4),
        ("c.test", "/not/only", 5), ("", "/", 5), ("notb.test", "/", 5),
    ],
)  # fmt: skip
def test_first_match_wins(authority: str, path: str, index: int) -> None:
    """The first rule that fits host name and path answers; a port does not matter."""
    assert match(RULES, authority, path)[0] == index


def test_options_over_defaults() -> None:
    """A rule's own options lie over those of the whole configuration."""
    assert RULES[1].options == OriginOptions(connect_timeout=5, no_tls_verify=True, host_header="all.test")
    assert RULES[5].options == OriginOptions(host_header="all.test")


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("http://h:81", HttpService("http://h:81", "h", 81)),
        ("https://h", HttpService("https://h", "h", 443, tls=True)),
        ("ws://h", HttpService("ws://h", "h", 80)),
        ("http://[::1]:8080", HttpService("http://[::1]:8080", "::1", 8080)),
        ("unix:/run/x", UnixService("/run/x")),
        ("unix+tls:/run/x", UnixService("/run/x", tls=True)),
        ("http_status:503", StatusService(503)),
        ("hello_world", HelloService()),
        ("ssh://h:22", StreamService("ssh://h:22", "h", 22)),
    ],
)
def test_services(text: str, service: Service) -> None:
    """Every kind of service is read, and written as it was."""
    assert parse_service(text) == service
    assert str(service) == text


@pytest.mark.parametrize("text", ["127.0.0.1:80", "http://127.0.0.1:80/path?q", "localhost:80"])
def test_url_flag(text: str) -> None:
    """The scheme of --url may be missing, and its path does not count."""
    service = parse_url_flag(text)
    assert isinstance(service, HttpService)
    assert (service.port, str(service)) == (80, text.partition("/path")[0] if "://" in text else f"http://{text}")


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([{"service": "bogus"}], "bogus is an invalid address, please make sure it has a scheme and a hostname"),
        ([{"service": "http://a/b"}], "ingress rules don't support proxying to a different path"),
        ([{"service": "http://a:99999"}], "is an invalid address"),
        ([{"service": "http_status:x"}], "invalid HTTP status code"),
        ([{"service": "http_status:99"}], "invalid HTTP status code: 99"),
        ([{"hostname": "a", "service": "http://a"}], "The last ingress rule must match all URLs"),
        ([{"service": "http://a"}, {"service": "http://b"}], "Rule #1 is matching the hostname ''"),
        ([{"hostname": "a.*.b", "service": "http://a"}, {"service": "http://a"}], "at most one wildcard"),
        ([{"hostname": "a:1", "service": "http://a"}, {"service": "http://a"}], "Hostname cannot contain a port"),
        ([{"path": "(", "service": "http://a"}, {"service": "http://a"}], "Rule #1 has an invalid regex"),
        ([{"service": "http://a", "originRequest": {"connectTimeout": "x"}}], "is not of the type"),
        (["http://a"], "not a list of rules"),
    ],
)
def test_bad_rules(rules: list[Any], words: str) -> None:
    """A rule that cannot be used is refused with a reason."""
    with pytest.raises(IngressError, match=words.replace("(", r"\(")):
        parse_rules({"ingress": rules})


def configuration(lines: list[str]) -> Configuration:
    """The configuration of a start without rules."""
    return Configuration((), defaults=OriginOptions(), flags={"protocol": "http2"}, log=Log(sink=lines.append))


def test_no_rules() -> None:
    """Without rules every request is answered with 503."""
    _, rule = configuration([]).match("a.test", "/")
    assert rule.service == StatusService(503, unconfigured=True)


def test_pushes() -> None:
    """A newer push replaces all rules, an older one is ignored, a bad one changes nothing; the log has the text as sent."""
    lines: list[str] = []
    config = configuration(lines)
    body = b'{"version": 4,  "config" :{"ingress": [{"service": "http_status:418"}]}}'
    assert json.loads(config.apply_push(body).to_json()) == {"lastAppliedVersion": 4, "err": None}
    assert config.match("", "/")[1].service == StatusService(418)
    assert lines[-1].endswith('config="{\\"ingress\\": [{\\"service\\": \\"http_status:418\\"}]}" version=4\n')
    assert json.loads(config.apply(4, "{}").to_json()) == {"lastAppliedVersion": 4, "err": None}
    assert json.loads(config.apply(5, "nonsense").to_json()) == {"lastAppliedVersion": 4, "err": {}}
    assert json.loads(config.apply(5, "[]").to_json()) == {"lastAppliedVersion": 4, "err": {}}
    assert config.match("", "/")[1].service == StatusService(418)
    assert json.loads(config.apply(5, "{}").to_json()) == {"lastAppliedVersion": 5, "err": None}
    assert config.match("", "/")[1].service == StatusService(503, unconfigured=True)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"version": 1 "config": {}}', b'{"version": "x"}', b"\xff", b'{"version": 1'])
def test_push_that_is_none(body: bytes) -> None:
    """A body that is no push is an error, not a change."""
    config = configuration([])
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of whichever parser met the defect
        config.apply_push(body)
    assert config.version == -1


def test_shown_configuration() -> None:
    """The configuration is shown the way the real connector shows it."""
    config = Configuration(RULES[5:], defaults=OriginOptions(), flags={}, log=Log(sink=lambda _: None))
    shown = json.loads(config.for_operator())
    assert shown["version"] == -1
    assert shown["config"]["ingress"][0]["service"] == "http_status:404"
    assert list(shown["config"]["originRequest"]) == [
        "connectTimeout", "tlsTimeout", "tcpKeepAlive", "noHappyEyeballs", "keepAliveTimeout", "keepAliveConnections",
        "httpHostHeader", "originServerName", "matchSNItoHost", "caPool", "noTLSVerify", "disableChunkedEncoding",
        "bastionMode", "proxyAddress", "proxyPort", "proxyType", "ipRules", "http2Origin", "access",
    ]  # fmt: skip
    told = json.loads(config.for_edge())
    assert told == {
        "ingress": [{"service": "http_status:404", "originRequest": {"httpHostHeader": "all.test"}}],
        "warp-routing": {},
    }
