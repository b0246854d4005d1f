"""Write a set-up into the user's own file, and leave everything else in it as it is: comments, order, other keys. Pure.

The file is the user's, so it is edited, not rendered: tomlkit keeps every byte that is not about the change. What stands there
is taken for what it means: `${VAR}` for the variable's value, a host name in other letters for the name that DNS knows. A
tunnel that is not recognised would be declared a second time.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.exceptions import ParseError, TOMLKitError

from prx.config.expand import expand, map_strings
from prx.config.keys import find_key
from prx.config.positions import KeyPath
from prx.config.schema import DEFAULT_TUNNEL
from prx.config.toml_text import value_text
from prx.core.errors import UsageError
from prx.core.parsing import parse_toml

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_Value = tuple[tuple[str, ...], str, Any]  # table, key, and value; None: the key is to go


@dataclass(frozen=True, slots=True)
class NamedTunnel:
    """What a set-up writes: the tunnel, who may visit it, and what the application is called at Cloudflare.

    local_addr: empty if the file's own is right. token: the reference (`secret:NAME`). aud: empty if it is not known yet,
    or there is no application; `is_protected` tells. former_aud: what prx wrote before; the tag of another tunnel stays.
    """

    hostname: str
    local_addr: str
    token: str
    allow: Sequence[str] = ()
    public_paths: Sequence[str] = ()
    service_tokens: Sequence[str] = ()
    is_protected: bool = False
    team: str = ""
    aud: str = ""
    former_aud: str = ""


def tunnel_table(text: str, hostname: str, environ: Mapping[str, str] = _NOTHING) -> tuple[str, ...]:
    """Return the path of the table that declares this host name, or that is to: `("tunnel",)` or `("tunnels", NAME)`.

    A table without a host name is taken, unless another program keeps its URL up.
    """
    tables = dict(_tunnels(_parse(text)))
    for path, table in tables.items():
        if _hostname_in(path, table, environ) == hostname:
            return path
    for path, table in tables.items():
        if not _hostname_in(path, table, environ) and _meaning((*path, "backend"), table.get("backend"), environ) != "none":
            return path
    if not tables:
        return ("tunnel",)
    return ("tunnels", _free_name(hostname, {path[-1] for path in tables}))


def with_tunnel(text: str, wanted: NamedTunnel, environ: Mapping[str, str] = _NOTHING) -> tuple[str, tuple[str, ...]]:
    """Return the file with the tunnel in it, and what changes, in words; nothing changes if it says all this already.

    environ: the variables that `${VAR}` in the file stands for.
    """
    document = _parse(text)
    path = tunnel_table(text, wanted.hostname, environ)
    values = [item for item in _values(path, wanted, document, environ) if not _says(document, item, environ)]
    changes: list[str] = []
    try:
        for table, key, value in values:
            _put(document, table, key, value, changes)
        result = tomlkit.dumps(document)
    except (TOMLKitError, ValueError, TypeError):  # an inline table that would have to hold another table, for one
        raise _harm(path) from None
    _require_right(text, result, path, values)
    return result, tuple(changes)


def without_tunnel(text: str, hostname: str, aud: str, environ: Mapping[str, str] = _NOTHING) -> tuple[str, tuple[str, ...]]:
    """Return the file without what no longer exists at Cloudflare: the token's reference, and the application's tag.

    The tunnel stays declared, with its name and its wishes: the next set-up makes it again, and no start publishes it without.
    """
    document = _parse(text)
    changes: list[str] = []
    for path, table in _tunnels(document):
        cloudflare = _inner(table, "cloudflare")
        if _hostname_in(path, table, environ) == hostname and "token" in cloudflare:
            del cloudflare["token"]
            changes.append(f"without {'.'.join(path)}.cloudflare.token")
    access = document.get("access")
    if aud and isinstance(access, MutableMapping) and access.get("aud") == aud:
        changes += [f"without access.{key}" for key in ("team", "aud") if access.pop(key, None) is not None]
        if not access:
            del document["access"]
    return tomlkit.dumps(document), tuple(changes)


def _values(path: tuple[str, ...], wanted: NamedTunnel, document: TOMLDocument, environ: Mapping[str, str]) -> Iterator[_Value]:
    """Yield everything that is to stand there."""
    if wanted.local_addr:
        yield path, "local_addr", wanted.local_addr
    cloudflare = (*path, "cloudflare")
    yield cloudflare, "mode", "named"
    yield cloudflare, "hostname", wanted.hostname
    yield cloudflare, "token", wanted.token
    for key, value in (
        ("allow", wanted.allow),
        ("public_paths", wanted.public_paths),
        ("service_tokens", wanted.service_tokens),
    ):
        yield (*path, "access"), key, list(value) or None
    if wanted.is_protected and _may_write_access(document, wanted, environ):
        yield ("access",), "team", wanted.team
        yield ("access",), "aud", wanted.aud or "(when it is known)"


def _require_right(old: str, new: str, path: tuple[str, ...], values: Sequence[_Value]) -> None:
    """Raise UsageError if the new file would not say exactly what the old one says, and these values."""
    expected = parse_toml(old)
    for table, key, value in values:
        inner = expected
        for part in table:
            if value is None and part not in inner:
                break
            inner = inner.setdefault(part, {})
        else:
            inner[key] = value
            if value is None:
                del inner[key]
    try:
        found = parse_toml(new)
    except tomllib.TOMLDecodeError:
        found = {}
    if found != expected:
        raise _harm(path)


def _harm(path: tuple[str, ...]) -> UsageError:
    return UsageError(
        f"the file is written in a way that prx cannot edit without harm (the tables of {'.'.join(path)})",
        hint="write its keys below a line [tunnel], or let `--write FILE` take another file",
    )


def _may_write_access(document: TOMLDocument, wanted: NamedTunnel, environ: Mapping[str, str]) -> bool:
    """Return whether `[access]`, of which there is one in a file, is this tunnel's to write."""
    access = document.get("access")
    held = access.get("aud") if isinstance(access, Mapping) else ""
    if not held or held == wanted.aud:
        return True
    alone = all(_hostname_in(path, table, environ) in {"", wanted.hostname} for path, table in _tunnels(document))
    return bool(wanted.aud) and (held == wanted.former_aud or alone)


def _put(document: TOMLDocument, path: tuple[str, ...], key: str, value: Any, changes: list[str]) -> None:
    if value is None:
        del _made(document, path)[key]
        changes.append(f"without {'.'.join((*path, key))}")
        return
    _made(document, path)[key] = value
    changes.append(f"{'.'.join((*path, key))} = {value_text(value)}")


def _says(document: TOMLDocument, item: _Value, environ: Mapping[str, str]) -> bool:
    """Return whether the file says this already, in whatever letters."""
    path, key, value = item
    found = _at(document, path)
    old = found.get(key) if found is not None else None
    return bool(_meaning((*path, key), old, environ) == value)


def _meaning(path: KeyPath, value: Any, environ: Mapping[str, str]) -> Any:
    """Return what a value of the file stands for: variables replaced, and each text as prx uses it."""
    key = find_key(path)

    def understood(_: KeyPath, text: str) -> str:
        try:
            text = expand(text, environ)
            return key.facts.check(text) if key is not None and key.facts.check is not None else text
        except ValueError:  # a mistake, which is reported where the file is read
            return text

    return map_strings(value, understood)


def _hostname_in(path: KeyPath, table: MutableMapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return the host name of a tunnel's table, as DNS knows it; empty if it has none."""
    return str(_meaning((*path, "cloudflare", "hostname"), _inner(table, "cloudflare").get("hostname"), environ) or "")


def _at(document: MutableMapping[str, Any], path: tuple[str, ...]) -> MutableMapping[str, Any] | None:
    found: Any = document
    for part in path:
        found = found.get(part) if isinstance(found, MutableMapping) else None
    return found if isinstance(found, MutableMapping) else None


def _made(document: MutableMapping[str, Any], path: tuple[str, ...]) -> MutableMapping[str, Any]:
    """Return the table at `path`, made if it is missing."""
    found: Any = document
    for number, part in enumerate(path):
        if not isinstance(found.get(part), MutableMapping):
            found[part] = tomlkit.table(is_super_table=number == 0 and part == "tunnels")
        found = found[part]
    assert isinstance(found, MutableMapping)
    return found


def _tunnels(document: TOMLDocument) -> Iterator[tuple[tuple[str, ...], MutableMapping[str, Any]]]:
    if isinstance(table := document.get("tunnel"), MutableMapping):
        yield ("tunnel",), table
    named = document.get("tunnels")
    for name, table in named.items() if isinstance(named, MutableMapping) else ():
        if isinstance(table, MutableMapping):
            yield ("tunnels", str(name)), table


def _inner(table: MutableMapping[str, Any], name: str) -> MutableMapping[str, Any]:
    found = table.get(name)
    return found if isinstance(found, MutableMapping) else {}


def _free_name(hostname: str, taken: set[str]) -> str:
    """Return a name for the tunnel's table: the first label of the host name, or that with a number."""
    label = hostname.partition(".")[0].strip("-_")[:60] or "tunnel"
    names = [label, *(f"{label}-{number}" for number in range(2, 1000))]
    return next(name for name in names if name not in {*taken, DEFAULT_TUNNEL, "tunnel"})


def _parse(text: str) -> TOMLDocument:
    try:
        return tomlkit.parse(text)
    except ParseError as error:
        raise UsageError(f"the configuration file is not TOML: {error}") from error
