"""The rules of a tunnel: what is there and what is wanted → the document to write. Pure.

A PUT replaces everything, so what others wrote stays: rules of other host names, rules of further paths, keys of
`originRequest` that prx knows nothing of, `warp-routing`. The last rule catches all. `originRequest.access` lets cloudflared
itself refuse what comes around Access; paths that stay open have rules of their own in front, without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from prx.cloudflare_api.things import Document, dns_name
from prx.cloudflare_api.wishes import Wish, path_expression

CATCH_ALL: Final = {"service": "http_status:404"}
_OURS: Final = ("access", "httpHostHeader", "originServerName", "noTLSVerify", "caPool")


def wanted_document(current: Document, wish: Wish, team: str, aud: str, *, former_paths: Iterable[str] = ()) -> dict[str, Any]:
    """Return the configuration that serves `wish`; `aud` is empty without Access.

    former_paths: those that prx opened before.
    """
    rules = [dict(rule) for rule in current.get("ingress") or () if isinstance(rule, Mapping)]
    ours = {path_expression(path) for path in (*wish.public_paths, *former_paths)}
    mine = [rule for rule in rules if _host(rule) == wish.hostname]
    kept_paths = [rule for rule in mine if rule.get("path") and rule["path"] not in ours]
    main = next((rule for rule in mine if not rule.get("path")), {})
    others = [rule for rule in rules if _host(rule) not in {"", wish.hostname}]
    last = next((rule for rule in rules if not _host(rule) and not rule.get("path")), CATCH_ALL)
    fresh = [*_open_rules(wish, main), *kept_paths, _main_rule(wish, main, team, aud)]
    specific = [rule for rule in others if "*" not in _host(rule)]
    wild = [rule for rule in others if "*" in _host(rule)]
    return {**current, "ingress": [*_in_place(rules, specific, fresh), *wild, last]}


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two configurations say the same: Cloudflare may number the rules, and add what is empty."""
    return bool(_essence(one) == _essence(other))


def _essence(document: Mapping[str, Any]) -> Any:
    rules = [rule for rule in document.get("ingress") or () if isinstance(rule, Mapping)]
    return {**_full(document), "ingress": [{**_full(rule), "hostname": _host(rule), "id": ""} for rule in rules]}


def _full(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table without what says nothing: the same as if it were left out."""
    kept = {
        key: _full(value) if key == "originRequest" and isinstance(value, Mapping) else value for key, value in table.items()
    }
    return {key: value for key, value in kept.items() if value not in ({}, None, "", False)}


def words(document: Mapping[str, Any], hostname: str) -> str:
    """Return where the rules lead a host name now, in words."""
    rules = [rule for rule in document.get("ingress") or () if isinstance(rule, Mapping) and _host(rule) == hostname]
    if not rules:
        return "no rule for this name"
    services = dict.fromkeys(str(rule.get("service")) for rule in rules)
    return f"{hostname} → {', '.join(services)}" + (", behind Access" if any(map(_is_guarded, rules)) else "")


def _is_guarded(rule: Mapping[str, Any]) -> bool:
    origin = rule.get("originRequest")
    access = origin.get("access") if isinstance(origin, Mapping) else None
    return isinstance(access, Mapping) and access.get("required") is True


def without(current: Document, hostname: str) -> dict[str, Any]:
    """Return the configuration without the rules of a host name."""
    rules = [rule for rule in current.get("ingress") or () if isinstance(rule, Mapping) and _host(rule) != hostname]
    return {**current, "ingress": rules or [CATCH_ALL]}


def serves_others(current: Document, hostname: str) -> list[str]:
    """Return the host names, other than this one, that the rules speak of."""
    found = (_host(rule) for rule in current.get("ingress") or () if isinstance(rule, Mapping))
    return list(dict.fromkeys(name for name in found if name not in {"", hostname}))


def _in_place(rules: list[dict[str, Any]], others: list[dict[str, Any]], fresh: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the fresh rules where the first of the old ones stood, so that a second look finds nothing to change."""
    mine = fresh[-1]["hostname"]
    first = next((number for number, rule in enumerate(rules) if _host(rule) == mine), len(rules))
    before = [rule for rule in rules[:first] if rule in others]
    return [*before, *fresh, *(rule for rule in others if rule not in before)]


def _host(rule: Mapping[str, Any]) -> str:
    name = rule.get("hostname")
    return dns_name(name) if isinstance(name, str) else ""


def _main_rule(wish: Wish, old: Mapping[str, Any], team: str, aud: str) -> dict[str, Any]:
    origin = _origin(wish, old)
    if aud:
        origin["access"] = {"required": True, "teamName": team, "audTag": [aud]}
    return _rule(wish, origin, "")


def _open_rules(wish: Wish, old: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_rule(wish, _origin(wish, old), path_expression(path)) for path in wish.public_paths]


def _origin(wish: Wish, old: Mapping[str, Any]) -> dict[str, Any]:
    former = old.get("originRequest")
    kept = {key: value for key, value in former.items() if key not in _OURS} if isinstance(former, Mapping) else {}
    return {**kept, **wish.origin}


def _rule(wish: Wish, origin: dict[str, Any], path: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"hostname": wish.hostname, "service": wish.service}
    if path:
        rule["path"] = path
    if origin:
        rule["originRequest"] = origin
    return rule
