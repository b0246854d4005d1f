"""What the schema takes, what it refuses, and that it names every mistake at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from prx.config.checker import SchemaError, Table, fields_of, read
from prx.config.declare import facts_of
from prx.config.keys import Key, keys_of
from prx.config.render import json_schema
from prx.config.schema import AccessSettings, CloudflareSettings, Config, ConfigFile, TunnelSettings
from prx.secrets.value import Secret

TABLES: list[type[Table]] = [AccessSettings, CloudflareSettings, TunnelSettings]


@pytest.mark.parametrize(
    ("key", "written", "held"),
    [
        ("max_failures", 5, 5),
        ("health_check_interval_secs", 5, 5.0),  # an integer is a number
        ("health_check_interval_secs", 0.1, 0.1),
        ("require_access", True, True),
        ("local_addr", 9000, "127.0.0.1:9000"),
        ("local_addr", "localhost:80", "localhost:80"),
        ("origin_tls_verify", False, "false"),
        ("on_url", ["./a", "./b"], ("./a", "./b")),
        ("on_url", ("./a",), ("./a",)),
        ("on_url", ("HTTPS://Example.com/Hook",), ("https://Example.com/Hook",)),  # else it were taken for a command
        ("on_change", ("Http://127.0.0.1:9/x", "Slack://A/B/C"), ("http://127.0.0.1:9/x", "Slack://A/B/C")),
        ("public_url", "https://app.example.com/", "https://app.example.com"),
        ("url_env_file", "\udcff", "\udcff"),  # a name of a file need not be UTF-8
    ],
)
def test_what_is_meant_is_taken(key: str, written: object, held: object) -> None:
    """A value is held as prx uses it, whether it was read or handed to the constructor; its type is the declared one."""
    for table in (read(TunnelSettings, {key: written}), TunnelSettings(**{key: written})):  # type: ignore[arg-type]
        assert getattr(table, key) == held
        assert type(getattr(table, key)) is type(held)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("max_failures", True),
        ("max_failures", 5.0),
        ("max_failures", "5"),
        ("max_failures", 0),
        ("max_failures", 1001),
        ("health_check_interval_secs", True),
        ("health_check_interval_secs", "5"),
        ("health_check_interval_secs", float("nan")),
        ("health_check_interval_secs", float("inf")),
        ("health_check_interval_secs", 10**400),
        ("require_access", 1),
        ("require_access", "true"),
        ("backend", "None"),
        ("backend", ["none"]),
        ("local_addr", True),
        ("local_addr", 80.0),
        ("origin_tls_verify", 1),
        ("health_check_path", b"/"),
        ("on_url", "./a"),
        ("on_url", {"./a"}),
        ("on_url", {"./a": 1}),
        ("public_url", None),
        ("cloudflare", []),
        ("cloudflare", None),
    ],
)
def test_nothing_is_guessed(key: str, written: object) -> None:
    """A value of another type, or out of range, is a mistake at its own path, in a file as in code."""
    with pytest.raises(SchemaError, match=key) as caught:
        read(TunnelSettings, {key: written})
    assert [mistake.path for mistake in caught.value.mistakes] == [(key,)]
    with pytest.raises(SchemaError, match=key) as caught:
        TunnelSettings(**{key: written})  # type: ignore[arg-type]
    assert [mistake.path for mistake in caught.value.mistakes] == [(key,)]


def test_every_mistake_is_found_at_once() -> None:
    """Mistakes of all kinds, at all depths, come in one error; each with its path, what was found and what it is about."""
    tree: dict[str, Any] = {
        "log_level": "loud",
        "tunel": {},
        "access": 5,
        "tunnel": {"max_failures": 0, "on_url": ["./a", 1, ""], "cloudflare": {"token": 1, "protcol": "quic"}},
        "tunnels": {"A b": {"doh": [5]}, "web": []},
    }
    with pytest.raises(SchemaError) as caught:
        read(ConfigFile, tree)
    assert {(item.path, item.kind, str(item.found)) for item in caught.value.mistakes} == {
        (("log_level",), "value", "loud"),
        (("tunel",), "unknown", "{}"),
        (("access",), "value", "5"),
        (("tunnel", "max_failures"), "value", "0"),
        (("tunnel", "on_url", 1), "value", "1"),
        (("tunnel", "on_url", 2), "value", ""),
        (("tunnel", "cloudflare", "token"), "value", "1"),
        (("tunnel", "cloudflare", "protcol"), "unknown", "quic"),
        (("tunnels", "A b"), "name", "A b"),
        (("tunnels", "A b", "doh", 0), "value", "5"),
        (("tunnels", "web"), "value", "[]"),
    }


def test_an_error_shows_no_value() -> None:
    """The text of the error itself names keys alone: what was found may be a token."""
    with pytest.raises(SchemaError) as caught:
        read(ConfigFile, {"tunnel": {"cloudflare": {"token": 5, "hostname": "eyJ secret"}, "eyJ": "eyJsecret"}})
    assert "secret" not in str(caught.value)
    assert "tunnel.cloudflare.hostname" in str(caught.value)


def test_tables_cannot_change() -> None:
    """A configuration that is in force changes for no holder, nor with what it was made of."""
    given = {"web": TunnelSettings()}
    config = Config(tunnels=given)
    given.clear()
    assert set(config.tunnels) == {"web"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.log_level = "debug"  # type: ignore[misc]
    assert hash(config.tunnels["web"]) == hash(TunnelSettings())


def test_a_changed_copy_is_whole_and_unchecked() -> None:
    """`changed` gives what no file may hold, as the lab needs it, leaves the first one alone, and understands it again."""
    first = TunnelSettings(local_addr="127.0.0.1:1", max_failures=7)
    assert first.origin_port == 1
    long = "x" * 300
    second = first.changed(local_addr="127.0.0.1:2", cloudflare=first.cloudflare.changed(hostname=long))
    assert (second.origin_port, second.max_failures, second.cloudflare.hostname) == (2, 7, long)
    assert (first.origin_port, first.cloudflare.hostname) == (1, "")
    assert first == TunnelSettings(local_addr="127.0.0.1:1", max_failures=7)


@pytest.mark.parametrize("table", TABLES)
def test_every_default_is_allowed(table: type[Table]) -> None:
    """What a table holds when nothing is written passes its own checks, and is held as it would be if it were written."""
    made = table()
    again = read(table, {name: getattr(made, name) for name in fields_of(table)})
    assert again == made


@pytest.mark.parametrize("key", list(keys_of()), ids=lambda key: key.name)
def test_every_key_is_declared_in_full(key: Key) -> None:
    """Each key has a description, a number has a range, and the JSON Schema an editor reads says the same."""
    assert key.description.endswith(".")
    assert (key.type in {int, float}) == (key.facts.minimum is not None) == (key.facts.maximum is not None)
    assert key.is_secret == (key.type is Secret)
    schema = json_schema()
    for part in key.path[:-1]:
        schema = schema["properties"][part] if "properties" in schema else schema
        schema = json_schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    said = schema["properties"][key.path[-1]]
    assert said["description"] == key.description
    assert said["default"] == ("" if key.is_secret else key.default)
    assert said.get("minimum") == key.facts.minimum
    assert said.get("maximum") == key.facts.maximum
    assert said.get("env", "") == key.env
    assert key.choices == tuple(said.get("enum", said.get("anyOf", [{}])[0].get("enum", ())))


def test_only_keys_have_facts() -> None:
    """A field that holds a table has no facts of its own: they stand with its keys."""
    assert facts_of(fields_of(TunnelSettings)["cloudflare"]).description == ""
