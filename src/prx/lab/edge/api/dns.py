"""DNS records: `/zones/{zone}/dns_records`, and `/zones/{zone}/tunnels/{tunnel}/routes`, the one that cloudflared calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from prx.lab.edge.api import errors
from prx.lab.edge.api.call import Call, Reply, Route, text
from prx.lab.edge.api.envelope import page
from prx.lab.edge.api.permissions import DNS, read, write
from prx.lab.edge.api.records import TUNNEL_SUFFIX, Record, Records
from prx.lab.edge.api.tunnels import Tunnels

_BASE: Final = "/zones/{zone}/dns_records"
_ONE: Final = f"{_BASE}/{{record}}"
_PAGE: Final = 100
_MOST: Final = 5_000_000
_TESTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "": str.__eq__,
    "exact": str.__eq__,
    "contains": str.__contains__,
    "startswith": str.startswith,
    "endswith": str.endswith,
    "present": lambda found, _: found != "",
    "absent": lambda found, _: found == "",
}


class Dns:
    """The calls about DNS records."""

    def __init__(self, records: Records, tunnels: Tunnels) -> None:
        self._records = records
        self._tunnels = tunnels

    def routes(self) -> list[Route]:
        """Return the calls."""
        return [
            Route("GET", _BASE, read(DNS), self._list),
            Route("POST", _BASE, write(DNS), lambda call: self._records.add(call.body(), call.habits).describe()),
            Route("POST", f"{_BASE}/batch", write(DNS), self._batch),
            Route("GET", _ONE, read(DNS), lambda call: self._shown(self._records.get(call.params["record"]), call)),
            Route("PUT", _ONE, write(DNS), lambda call: self._change(call, whole=True)),
            Route("PATCH", _ONE, write(DNS), lambda call: self._change(call, whole=False)),
            Route("DELETE", _ONE, write(DNS), lambda call: self._delete(call.params["record"])),
            Route("PUT", "/zones/{zone}/tunnels/{tunnel}/routes", write(DNS), self._route),
        ]

    def _list(self, call: Call) -> Reply:
        found = [record for record in self._records if _wanted(record, call.query)]
        order = call.query.get("order", "type")
        key = order if order in ("type", "name", "content", "ttl", "proxied") else "type"
        found.sort(key=lambda record: (getattr(record, key), record.name), reverse=call.query.get("direction") == "desc")
        shown = [self._shown(record, call) for record in found]
        return page(call, shown, default=_PAGE, most=_MOST)

    def _shown(self, record: Record, call: Call) -> dict[str, Any]:
        """Write a record, with the delegations that hide it if that is asked for."""
        described = record.describe()
        shadows = [] if record.type == "NS" else self._records.delegations(record.name)
        if shadows and call.query.get("include_shadow_metadata") == "true":
            described["meta"] = {**described["meta"], "shadowed_by": [shadow.id for shadow in shadows]}
        return described

    def _change(self, call: Call, *, whole: bool) -> Any:
        return self._records.change(call.params["record"], call.body(), call.habits, whole=whole).describe()

    def _delete(self, record_id: str) -> Any:
        self._records.remove(record_id)
        return {"id": record_id}

    def _batch(self, call: Call) -> Any:
        body = call.body()

        def all_of_it() -> Any:
            deleted = [self._records.get(one).describe() for one in _ids(body, "deletes")]
            for one in _ids(body, "deletes"):
                self._records.remove(one)
            done = {"deletes": deleted}
            for kind, whole in (("patches", False), ("puts", True)):
                items = zip(_ids(body, kind), body.get(kind) or [], strict=True)
                done[kind] = [self._records.change(one, item, call.habits, whole=whole).describe() for one, item in items]
            done["posts"] = [self._records.add(item, call.habits).describe() for item in _objects(body, "posts")]
            return done

        return self._records.all_or_nothing(all_of_it)

    def _route(self, call: Call) -> Any:
        """Lead a name to a tunnel as `cloudflared tunnel route` asks; one outside of the zone is made a name below it."""
        body, tunnel = call.body(), self._tunnels.find(call.params["tunnel"])
        if body.get("type") == "lb":
            return {"load_balancer": "unchanged", "pool": "unchanged"}
        name = self._records.full_name(text(body, "user_hostname"))
        content = f"{tunnel.id}{TUNNEL_SUFFIX}"
        document = {"type": "CNAME", "name": name, "content": content, "proxied": True}
        there = [record for record in self._records.of(name) if record.type in ("A", "AAAA", "CNAME")]
        if not there:
            self._records.add(document, call.habits)
            return _routed("new", name, str(tunnel.id))
        if any(record.content == content for record in there):
            return _routed("unchanged", name, str(tunnel.id))
        if body.get("overwrite_existing") is not True:
            raise errors.ApiError(400, 1003, "An A, AAAA, or CNAME record with that host already exists.")
        for other in there[1:]:
            self._records.remove(other.id)
        self._records.change(there[0].id, document, call.habits, whole=True)
        return _routed("updated", name, str(tunnel.id))


def _routed(change: str, name: str, tag: str) -> dict[str, str]:
    return {"cname": change, "name": name, "dns_tag": tag}


def _wanted(record: Record, query: dict[str, str]) -> bool:
    """Return whether a list with this query has a record; unknown parameters are passed over."""
    if "search" in query and query["search"] not in f"{record.name} {record.content} {record.comment or ''}":
        return False
    found: list[bool] = []
    for key, value in query.items():
        name, _, test = key.partition(".")
        if name in ("name", "content", "comment") and test in _TESTS:
            own = getattr(record, name) or ""
            found.append(_TESTS[test](own.lower(), value.lower()))
        elif key == "type":
            found.append(record.type == value.upper())
        elif key == "proxied":
            found.append(record.proxied == (value == "true"))
    return any(found) if query.get("match") == "any" and found else all(found)


def _objects(body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = body.get(key) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise errors.invalid(f"{key}: expected a list of objects")
    return items


def _ids(body: dict[str, Any], key: str) -> list[str]:
    return [text(item, "id") for item in _objects(body, key)]
