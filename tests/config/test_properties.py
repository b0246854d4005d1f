"""What holds for any configuration text, any value and any layering."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prx.config.expand import expand
from prx.config.keys import Key, keys_of
from prx.config.load import load
from prx.config.positions import find_lines
from prx.config.render import show
from prx.config.toml_text import key_text, value_text
from prx.core.errors import ConfigError
from prx.secrets.value import Secret

FILES = settings(deadline=None, max_examples=60)  # each example writes files: a busy disk is no failure

NAMES = st.sampled_from(
    ["tunnel", "tunnels", "access", "cloudflare", "default", "web", "Web", *{key.path[-1] for key in keys_of()}]
)
WORDS = st.one_of(NAMES, st.text(max_size=8))
SCALARS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "secret:x", "file:x", "${HOME}", "${NOPE}", "${", "$${", "quick", "named", "none", "8080", "unix:/x"]),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.datetimes(),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)), max_leaves=6
)
TABLES = st.dictionaries(WORDS, VALUES, max_size=4)
DOCUMENTS = st.fixed_dictionaries(
    {}, optional={"tunnel": TABLES, "tunnels": st.dictionaries(WORDS, TABLES, max_size=3), "access": TABLES}
)
PIECES = st.lists(
    st.one_of(st.sampled_from([*"[]{}=.,#\"'\\\n\t $", '"""', "'''", "[[", "]]", " = ", "\r\n"]), NAMES, st.text(max_size=3))
).map("".join)


def try_to_load(text: str, environ: Mapping[str, str]) -> None:
    """Load a text; nothing but a list of printable mistakes may come of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prx.toml"
        path.write_text(text, encoding="utf-8", newline="")
        path.chmod(0o600)
        with suppress(ConfigError):
            load(path, environ, resolve_secret=Secret)
            return
        with pytest.raises(ConfigError) as caught:
            load(path, environ, resolve_secret=Secret)
    assert caught.value.problems
    assert [problem for problem in caught.value.problems if not problem.isprintable()] == []


@FILES
@given(PIECES, st.dictionaries(st.sampled_from([key.env for key in keys_of() if key.env]), st.text(max_size=8)))
def test_any_text_loads_or_is_a_config_error(text: str, environ: dict[str, str]) -> None:
    """Whatever stands in the file and in the variables, the only exception is ConfigError, and its lines can be printed."""
    try_to_load(text, environ)


@example({"tunnels": {"\x1f": ""}}, {})
@given(
    st.one_of(DOCUMENTS, TABLES), st.dictionaries(st.sampled_from(["HOME", "PRX_TUNNEL_URL", "PRX_LOG"]), st.text(max_size=5))
)
def test_any_toml_loads_or_is_a_config_error(document: dict[str, Any], environ: dict[str, str]) -> None:
    """The same for text that is TOML, with the schema's own words in it."""
    try_to_load(tomlkit.dumps(document), environ)


def paths_in(value: Any, prefix: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each table, key and element."""
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*prefix, name)
        yield from paths_in(child, (*prefix, name))


@given(PIECES)
def test_every_key_of_a_valid_text_has_a_line(text: str) -> None:
    """Where tomllib finds a value, the scanner finds its line, and nothing else."""
    text = text.replace("\r\n", "\n")
    try:
        data = tomllib.loads(text)
    except ValueError:
        return
    lines = find_lines(text)
    assert set(lines) == set(paths_in(data))
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@given(TABLES)
def test_every_key_of_a_dumped_document_has_a_line(document: dict[str, Any]) -> None:
    """The same for documents as tomlkit writes them, with nested tables, arrays of tables and odd keys."""
    text = tomlkit.dumps(document).replace("\r\n", "\n")
    assert set(find_lines(text)) == set(paths_in(tomllib.loads(text)))


@given(st.lists(st.tuples(st.text(max_size=6), st.integers(0, 3)), min_size=1, max_size=8))
def test_lines_are_right(entries: list[tuple[str, int]]) -> None:
    """Each key is found on the very line where it was written, whatever stands between."""
    expected: dict[tuple[str | int, ...], int] = {}
    lines: list[str] = []
    for name, blank in entries:
        lines += ["# [no] table = here"] * blank
        if (name,) not in expected:
            lines.append(f"{key_text(name)} = {value_text(name)}")
            expected[(name,)] = len(lines)
    assert find_lines("\n".join(lines)) == expected


@given(st.text())
def test_written_strings_read_back(text: str) -> None:
    """A string written as TOML is one printable line that means the same."""
    written = value_text(text)
    assert written.isprintable()
    assert tomllib.loads(f"k = {written}")["k"] == text


@given(st.text(), st.text())
def test_expansion(text: str, value: str) -> None:
    """Text without a reference stays as it is, an escaped one loses its escape, and a value is never expanded again."""
    plain = text.replace("${", "")
    if "${" not in plain:
        assert expand(plain, {}) == plain
    assert expand("$${V}${V}", {"V": value}) == "${V}" + value


def _limits(key: Key) -> tuple[float, float]:
    """Return the least and the greatest allowed number."""
    assert key.facts.minimum is not None
    assert key.facts.maximum is not None
    return key.facts.minimum, key.facts.maximum


def values_for(key: Key) -> st.SearchStrategy[Any]:
    """Return allowed values of a key."""
    name = key.path[-1]
    ports = st.integers(1, 65535)
    special: dict[str, st.SearchStrategy[Any]] = {
        "local_addr": st.one_of(ports.map(str), ports.map("[::1]:{}".format), ports.map("https://box:{}".format)),
        "health_check_path": st.sampled_from(["/", "/health?x=1", "/a/b"]),
        "health_check_expect": st.sampled_from(["2xx", "200-399", "204,301"]),
        "public_url": st.just(""),
        "on_url": st.lists(st.sampled_from(["./hook.sh x", "https://h/x", 'say "x"']), max_size=3),
        "on_change": st.lists(st.sampled_from(["./page.sh x", "https://h/x"]), max_size=3),
        "probes": st.sampled_from(["", "127.0.0.1:9464", "[::]:9464"]),
        "doh": st.lists(st.just("https://1.1.1.1/dns-query"), max_size=2),
        "allow_ip": st.lists(st.sampled_from(["192.0.2.0/24", "2001:db8::/32"]), max_size=2),
        "allowed_mail": st.lists(st.sampled_from(["you@example.com", "*@example.org"]), max_size=2),
        **dict.fromkeys(("metrics_port", "port"), st.just(0)),  # any other may be where the service is
        "replicas": st.just(1),  # a quick tunnel has one connector
        "replicas_min": st.just(1),
        "replica_protocols": st.just([]),
        **dict.fromkeys(("allow", "public_paths", "service_tokens"), st.just([])),  # for named tunnels alone
        "url_env_file": st.just(""),
        "origin_ca": st.just("/etc/ssl/own.pem"),
    }
    if key.choices:
        return st.sampled_from([choice for choice in key.choices if choice not in {"none", "named"}])
    if name in special:
        return special[name]
    if key.type is bool:
        return st.booleans()
    if key.type is int:
        return st.integers(*map(int, _limits(key)))
    if key.type is float:
        low, high = _limits(key)
        return st.one_of(st.floats(low, high), st.integers(int(low) + 1, int(high)))
    return st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)


KEYS = [key for key in keys_of() if key.path[0] == "tunnel" and not key.is_secret]
LAYERING = st.lists(st.sampled_from(KEYS), unique_by=lambda key: key.name).flatmap(
    lambda keys: st.tuples(
        st.fixed_dictionaries({key.name: values_for(key) for key in keys}),
        st.fixed_dictionaries({}, optional={key.name: values_for(key) for key in KEYS}),
        st.fixed_dictionaries(
            {}, optional={key.name: values_for(key) for key in KEYS if key.env and key.path[-1] != "public_url"}
        ),
    )
)


@FILES
@given(LAYERING)
def test_layers_and_origins(layering: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]) -> None:
    """For any layering the highest layer wins, the origin names it, and what `show` prints loads as the same configuration."""
    file, arguments, variables = layering
    environ = {key.env: variables[key.name] for key in KEYS if key.name in variables}
    text = "".join(f"{name} = {value_text(value)}\n" for name, value in file.items())
    lines = {name: number for number, name in enumerate(file, 1)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prx.toml"
        path.write_text(text)
        loaded = load(path, environ, arguments)
        again = Path(folder) / "again.toml"
        again.write_text(show(loaded))
        assert load(again, {}).config == loaded.config
    for key in KEYS:
        origin = loaded.origins[key.name]
        if key.name in arguments:
            assert origin.kind == "command line"
        elif key.name in variables:
            assert (origin.kind, origin.place) == ("environment", key.env)
        elif key.name in file:
            assert (origin.kind, origin.line) == ("file", lines[key.name])
        else:
            assert origin.kind == "default"
        wanted = {key.name: key.default, **file, **variables, **arguments}[key.name]
        value: Any = loaded.config.tunnels["default"]
        for part in key.path[1:]:
            value = getattr(value, part)
        if key.path[-1] != "local_addr":
            assert value == (tuple(wanted) if isinstance(wanted, list) else wanted)
