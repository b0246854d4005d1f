"""Configuration files in YAML, and what they say of flags."""

from pathlib import Path
from typing import Any

import pytest

from prx.lab.connector.command_line import parse
from prx.lab.connector.config_file import ConfigFileError, load_config_file, with_file
from prx.lab.connector.origin.ingress import parse_rules

FILE = """\
# a comment
tunnel: 11111111-2222-4333-8444-555555555555
credentials-file: /etc/cloudflared/web.json
protocol: http2
grace-period: 5s
ha-connections: 2
no-autoupdate: true
edge: [127.0.0.1:1, 127.0.0.1:2]
tag:
  - a=b
originRequest:
  connectTimeout: 1m30s
  noTLSVerify: no
ingress:
  - hostname: "*.example.com"
    path: \\.(jpg|png)$
    service: https://localhost:8443
    originRequest: {keepAliveConnections: 5, access: {required: yes, teamName: t, audTag: ["1"]}}
  - service: http_status:404
"""


def load(tmp_path: Path, text: str, *flags: str) -> dict[str, Any] | None:
    """Read a file with this content."""
    path = tmp_path / "config.yml"
    path.write_text(text)
    return load_config_file(parse(["tunnel", "--config", str(path), *flags], {}).values)


def test_a_whole_file(tmp_path: Path) -> None:
    """Rules, ids and flags are read as cloudflared reads them."""
    config = load(tmp_path, FILE)
    assert config is not None
    assert config["tunnel"] == "11111111-2222-4333-8444-555555555555"
    first, last = parse_rules(config)
    assert (first.hostname, str(first.service), str(last.service)) == (
        "*.example.com",
        "https://localhost:8443",
        "http_status:404",
    )
    assert first.matches("a.example.com", "/x.png")
    assert (first.options.connect_timeout, first.options.no_tls_verify, first.options.keep_alive_connections) == (
        90.0,
        False,
        5,
    )
    assert first.options.access.required


def test_flags(tmp_path: Path) -> None:
    """A flag on the command line or in the environment beats the file; the file beats the default."""
    values = parse(["tunnel", "--grace-period", "7s", "run"], {"TUNNEL_TRANSPORT_PROTOCOL": "quic"}).values
    config = load(tmp_path, FILE)
    assert config is not None
    merged = with_file(values, config, named=True)
    assert (merged.number("grace-period"), merged.text("protocol"), merged.number("ha-connections")) == (7.0, "quic", 2)
    assert merged.texts("edge") == ("127.0.0.1:1", "127.0.0.1:2")
    assert merged.texts("tag") == ("a=b",)
    assert merged.get("no-autoupdate") is True
    assert merged.text("credentials-file") == "/etc/cloudflared/web.json"
    assert merged.text("loglevel") == "info"


@pytest.mark.parametrize("text", ["", "  \n", "# nothing\n", "---\n", "null\n"])
def test_nothing_in_it(tmp_path: Path, text: str) -> None:
    """A file without a value is empty, and not an error."""
    assert load(tmp_path, text) is None


@pytest.mark.parametrize("text", ['{"ingress": []}', "{}", '{"a": {"b": [1, 2]}}'])
def test_json(tmp_path: Path, text: str) -> None:
    """JSON is YAML too."""
    assert load(tmp_path, text) is not None


def test_dates_stay_text(tmp_path: Path) -> None:
    """What looks like a date is the text that it is."""
    assert load(tmp_path, "tunnel: 2026-11-28\n") == {"tunnel": "2026-11-28"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "line 1: "),
        ("a: 1\n b: 2\n", "line 2: "),
        ("a: 1\na: 2\n", 'line 2: mapping key "a" already defined at line 1'),
        ("ingress:\n- access: 1\n  access: 2\n", 'mapping key "access" already defined at line 2'),
        ("- a\n", "cannot unmarshal list into a mapping"),
        ("text\n", "cannot unmarshal str into a mapping"),
        ("a: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("a: \x01\n", "special characters are not allowed"),
        ("[" * 5000, "yaml: "),
        ("? [a]\n: b\n", "yaml: "),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    """A file that is no mapping in YAML is refused, with its line if there is one."""
    with pytest.raises(ConfigFileError) as caught:
        load(tmp_path, text)
    assert "error parsing YAML in config file at " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "config", [{"retries": "many"}, {"retries": True}, {"protocol": ["quic"]}, {"no-autoupdate": "perhaps"}, {"tag": "a=b"},
               {"grace-period": 5}, {"url": {"a": 1}}]
)  # fmt: skip
def test_flags_of_another_type(config: dict[str, Any]) -> None:
    """A flag's value in the file has the flag's type, or it is refused by name."""
    with pytest.raises(ConfigFileError, match=f"for {next(iter(config))}"):
        with_file(parse(["tunnel"], {}).values, config, named=True)
