"""What must hold between keys, said by the check of the whole."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from prx.config.checker import read
from prx.config.cross import mistakes, warnings
from prx.config.schema import CloudflareSettings, ConfigFile, TunnelSettings
from prx.secrets.value import Secret

NAMED: dict[str, Any] = {"mode": "named", "token": Secret("token"), "hostname": "app.example.com"}


def found(**keys: Any) -> list[tuple[str, str]]:
    """Return key and text of each mistake in `[tunnel.cloudflare]`."""
    tunnel = TunnelSettings(cloudflare=CloudflareSettings(**keys))
    return [(str(finding.key[-1]), finding.text) for finding in mistakes(ConfigFile(tunnel=tunnel))]


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ({"replicas": 2}, "replicas", 'expected 1, as mode is "quick"'),
        ({**NAMED, "replicas": 2, "metrics_port": 9000}, "metrics_port", "found 9000, expected 0, as there are 2 replicas"),
        ({**NAMED, "replicas": 2, "replicas_min": 3}, "replicas_min", "found 3, expected at most 2"),
        ({**NAMED, "protocol": "quic", "replica_protocols": ("http2",)}, "protocol", 'found "quic", expected "auto"'),
    ],
    ids=["quick", "one port", "more than all", "two choices"],
)
def test_replicas_that_cannot_be(keys: dict[str, Any], key: str, words: str) -> None:
    """Connectors that could not run side by side are refused, with the key, what was found and what is expected."""
    assert [(name, words in text) for name, text in found(**keys)] == [(key, True)]


@pytest.mark.parametrize(
    "keys", [{**NAMED, "replicas": 25, "replicas_min": 25}, {"replicas": 1}, {**NAMED, "metrics_port": 9000}]
)
def test_replicas_that_can_be(keys: dict[str, Any]) -> None:
    """The most that Cloudflare takes, one of a quick tunnel, and one with a port of its own."""
    assert found(**keys) == []


def named_in(text: str) -> set[str]:
    """Return the keys of the mistakes that a file has."""
    return {".".join(map(str, finding.key)) for finding in mistakes(read(ConfigFile, tomllib.loads(text)))}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[web]\nlisten = "4141"\nprobes = "4141"', "web.probes"),
        ('[web]\nlisten = "localhost:4141"\nprobes = "0.0.0.0:4141"', "web.probes"),
        ('[tunnel]\nlocal_addr = "3000"\ninspect = {enabled = true, port = 3000}', "tunnel.inspect.port"),
        ('[tunnel]\nlocal_addr = "3000"\n[web]\nlisten = "localhost:3000"', "web.listen"),
        ('[tunnel]\nlocal_addr = "3000"\ncloudflare = {metrics_port = 3000}', "tunnel.cloudflare.metrics_port"),
        (
            "[tunnels.a.inspect]\ncatch = true\nport = 9000\n[tunnels.b.inspect]\nenabled = true\nport = 9000",
            "tunnels.b.inspect.port",
        ),
        (
            "[tunnels.a.inspect]\ncatch = true\nport = 9000\n[tunnels.b.cloudflare]\nmetrics_port = 9000",
            "tunnels.b.cloudflare.metrics_port",
        ),
        (
            "[tunnels.a.cloudflare]\nmetrics_port = 9000\n[tunnels.b.cloudflare]\nmetrics_port = 9000",
            "tunnels.b.cloudflare.metrics_port",
        ),
        ('[tunnel.gate]\nbasic_auth = "user"', "tunnel.gate.basic_auth"),
        ('[tunnel.gate]\nbasic_auth = "user:a\\nb"', "tunnel.gate.basic_auth"),
        ('[tunnel.gate]\nbearer = "a\\r\\nX: y"', "tunnel.gate.bearer"),
        ('[tunnel.gate]\nbearer = "two words"', "tunnel.gate.bearer"),
        ('[tunnel]\nbackend = "none"\npublic_url = "https://a.example"\ngate = {bearer = "abc"}', "tunnel.gate"),
        ('[tunnel.inspect.webhooks]\nsvix = "whsec_%%"', "tunnel.inspect.webhooks.svix"),
        ('[tunnel.inspect.webhooks]\nwebhooks = "whsec_"', "tunnel.inspect.webhooks.webhooks"),
        ('[access]\nclient_id = "a b"\nclient_secret = "c"', "access.client_id"),
        ('[access]\nclient_id = "a"\nclient_secret = "c\\nd"', "access.client_secret"),
    ],
)
def test_what_can_never_work_is_found_before_the_start(text: str, key: str) -> None:
    """One place for two listeners, a password that no visitor can send, a key that is none: the key is named."""
    assert named_in(text) == {key}


@pytest.mark.parametrize(
    "text",
    [
        '[web]\nlisten = "127.0.0.1:4141"\nprobes = "127.0.0.2:4141"',
        '[web]\nlisten = "8080"',  # the default of local_addr, which `prx start PORT` replaces
        '[tunnel]\nlocal_addr = "192.0.2.7:3000"\n[web]\nlisten = "3000"',
        '[tunnel]\nlocal_addr = "9464"\n[web]\nprobes = "0.0.0.0:9464"',  # the service is prx's own probes
        "[tunnels.a.inspect]\nport = 9000\n[tunnels.b.inspect]\nport = 9000",  # without a relay
        '[tunnel.gate]\nbasic_auth = "user:p\u00e4ss: word"\nbearer = "env:T"',
        '[tunnel.inspect.webhooks]\nsvix = "whsec_c2VjcmV0"\nwebhooks = "c2VjcmV0"\nstripe = "whsec_anything"',
        '[access]\nclient_id = "x.access"\nclient_secret = "cmd:pass show x"',
    ],
)
def test_what_can_work_is_no_mistake(text: str) -> None:
    """Other addresses, references that are not known yet, keys of other senders."""
    assert named_in(text) == set()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[tunnel]\nbackend = "none"\npublic_url = "https://a.example"\ninspect = {enabled = true}', "not in the path"),
        ('[tunnel.inspect.webhooks]\ngithub = "x"', "nothing is inspected"),
        ('[tunnel.cloudflare]\nreplica_protocols = ["quic", "http2"]', "only the first 1 of 2"),
        ('[tunnel]\nhook_secret = "x"\non_change = ["./notify.sh"]', "signs nothing"),
    ],
)
def test_what_has_no_effect_is_said(text: str, words: str) -> None:
    """A setting that does nothing is a warning with its reason."""
    assert [words in finding.text for finding in warnings(read(ConfigFile, tomllib.loads(text)))] == [True]
