"""The configuration as text: the reference page, the file to begin with, the JSON Schema, `show`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from prx.config import reference
from prx.config.keys import Key, dotted, keys_of
from prx.config.load import load
from prx.config.render import default_text, json_schema, show, template
from prx.config.schema import Config

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"
KEYS = {key.name: key for key in keys_of()}


def test_reference_page_is_fresh() -> None:
    """The page in the documentation is what `python -m prx.config.reference` prints."""
    assert PAGE.read_text(encoding="utf-8") == reference.page()


def test_reference_page_names_every_key_and_variable() -> None:
    """No key and no variable of the contract is left out."""
    text = reference.page()
    assert all(f"| `{key.path[-1]}` | `{default_text(key)}` |" in text for key in keys_of())
    contract = "PRX_CONFIG PRX_LOG PRX_DATA_DIR PRX_TUNNEL_BACKEND PRX_TUNNEL_LOCAL_ADDR PRX_TUNNEL_URL CLOUDFLARE_TUNNEL_TOKEN"
    for variable in f"{contract} PRX_MASTER_KEY CF_ACCESS_CLIENT_ID CF_ACCESS_CLIENT_SECRET".split():
        assert f"| `{variable}` |" in text


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_every_key_is_described(key: Key) -> None:
    """Each key has a description that is a sentence, and a text for what it expects."""
    assert key.description.endswith(".")
    assert key.expected


def uncommented(text: str) -> str:
    """Return the template with every key switched on."""
    return "\n".join(line.removeprefix("#") if line[:1] == "#" and line[1:2] != " " else line for line in text.splitlines())


def test_template_loads_commented_and_uncommented(tmp_path: Path) -> None:
    """The file to begin with means the defaults, also after every # before a key is removed, and holds every key."""
    path = tmp_path / "prx.toml"
    for text in (template(), uncommented(template())):
        path.write_text(text, encoding="utf-8")
        assert load(path, {}).config == Config()
    assert {dotted(leaf) for leaf in leaves(tomllib.loads(uncommented(template())))} == set(KEYS)


def test_the_file_to_begin_with_begins_with_the_tunnel() -> None:
    """What a newcomer wants to set stands first: after the keys of no table, `[tunnel]` comes before all others."""
    tables = [line for line in template().splitlines() if line.startswith("[")]
    assert tables[0] == "[tunnel]"
    assert tables.index("[tunnel.cloudflare]") < tables.index("[access]")


def leaves(table: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every value."""
    found: list[tuple[str, ...]] = []
    for name, value in table.items():
        found += leaves(value, (*prefix, name)) if isinstance(value, Mapping) else [(*prefix, name)]
    return found


def test_show_is_a_configuration(tmp_path: Path) -> None:
    """What `show` prints loads again as the same configuration, origins or not."""
    path = tmp_path / "prx.toml"
    path.write_text('[tunnel]\nlocal_addr = "9"\non_url = ["a \\"b\\" \\u001b"]\n[tunnels.x.cloudflare]\nmetrics_port = 7\n')
    loaded = load(path, {"PRX_LOG": "warn"})
    for origins in (False, True):
        again = tmp_path / "again.toml"
        again.write_text(show(loaded, origins=origins))
        assert load(again, {}).config == loaded.config
    text = show(loaded, origins=True)
    assert f'local_addr = "127.0.0.1:9"  # {path}:2\n' in text
    assert 'log_level = "warn"  # environment variable PRX_LOG\n' in text
    assert "max_failures = 3  # default\n" in text
    assert "\x1b" not in text


def test_json_schema_speaks_of_files() -> None:
    """The JSON Schema knows both kinds of tunnel table, the allowed values, and shuts out unknown keys."""
    schema = json_schema()
    assert schema["properties"]["tunnel"] == {"$ref": "#/$defs/TunnelSettings"}
    assert schema["properties"]["tunnels"]["additionalProperties"] == {"$ref": "#/$defs/TunnelSettings"}
    tables = [schema, *schema["$defs"].values()]
    assert all(table["additionalProperties"] is False for table in tables)
    cloudflare = schema["$defs"]["CloudflareSettings"]["properties"]
    assert cloudflare["protocol"]["enum"] == ["auto", "quic", "http2"]
    assert cloudflare["token"]["default"] == ""
    assert cloudflare["grace_period_secs"]["maximum"] == 180


@pytest.mark.parametrize(
    ("written", "known", "people"),
    [
        ("bücher.example", "xn--bcher-kva.example", "bücher.example"),
        ("Straße.Example", "xn--strae-oqa.example", "straße.example"),
        ("日本語。jp", "xn--wgv71a119e.jp", "日本語.jp"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", "bücher.example"),
        ("i❤.ws", "xn--i-7iq.ws", ""),
        ("App.Example.com.", "app.example.com", ""),
    ],
)
def test_a_name_outside_of_ascii_is_shown_twice(tmp_path: Path, written: str, known: str, people: str) -> None:
    """A host name is kept as DNS knows it, and shown as people write it too; what is shown loads as the same."""
    path = tmp_path / "prx.toml"
    path.write_text(f'[tunnel.cloudflare]\nhostname = "{written}"\n', encoding="utf-8")
    loaded = load(path, {})
    assert loaded.config.tunnels["default"].cloudflare.hostname == known
    line = next(line for line in show(loaded).splitlines() if line.startswith("hostname"))
    assert line == f'hostname = "{known}"' + (f"  # {people}" if people else "")
    path.write_text(show(loaded), encoding="utf-8")
    assert load(path, {}).config == loaded.config


def test_urls_and_addresses_outside_of_ascii() -> None:
    """Every other place for a host name understands such a name as well."""
    from prx.config.schema import TunnelSettings

    settings = TunnelSettings(
        local_addr="https://bücher.test:8443",
        host_header="bücher.test:80",
        origin_server_name="bücher.test",
        on_url=("https://bücher.test:8/hook?a=1",),
        public_url="https://bücher.test/",
    )
    name = "xn--bcher-kva.test"
    assert settings.origin_url == f"https://{name}:8443"
    assert (settings.host_header, settings.origin_server_name) == (f"{name}:80", name)
    assert settings.on_url == (f"https://{name}:8/hook?a=1",)
    assert settings.public_url == f"https://{name}"


def test_a_relative_origin_ca_starts_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child runs in another folder: what it is given is the whole path, from the folder of the file or from HOME."""
    monkeypatch.setenv("HOME", "/home/me")
    path = tmp_path / "prx.toml"
    for written, whole in (
        ("ca.pem", f"{tmp_path}/ca.pem"),
        ("/x/ca.pem", "/x/ca.pem"),
        ("~/ca.pem", "/home/me/ca.pem"),
        ("", ""),
    ):
        path.write_text(f'[tunnel]\norigin_ca = "{written}"\n[tunnel.cloudflare]\ncloudflared_path = "~/bin/cloudflared"\n')
        tunnel = load(path, {}).config.tunnels["default"]
        assert tunnel.origin_ca == whole
        assert tunnel.cloudflare.cloudflared_path == "/home/me/bin/cloudflared"
