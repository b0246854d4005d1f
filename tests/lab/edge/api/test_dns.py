"""DNS records: what they may say, whom they are in the way of, and what the edge and the resolver make of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.lab.edge.api.client import RECORDS, ZONE, Client, resolve
from tests.lab.edge.connector import registered
from tests.support.wire import get

from prx.lab import Lab
from prx.lab.edge.faults.api_faults import SlowDns, ZoneState

OTHER = "00000000-0000-4000-8000-000000000001"


def cname(name: str, tunnel: str = OTHER, **more: Any) -> dict[str, Any]:
    """A record that leads a name to a tunnel."""
    return {"type": "CNAME", "name": name, "content": f"{tunnel}.cfargotunnel.com", "proxied": True, **more}


async def test_names_resolve_and_lead(lab: Lab, api: Client) -> None:
    """A proxied CNAME resolves to the edge and leads to its tunnel, also from a wildcard; without a record there is no name."""
    made = await api.tunnel("web")
    assert await resolve(lab, "app.prx.localhost") is None
    await api.lead("app.prx.localhost", made["id"])
    await api.lead("*.prx.localhost", made["id"])
    assert await resolve(lab, "app.prx.localhost") == ["127.0.0.1"]
    assert await resolve(lab, "any.prx.localhost") == ["127.0.0.1"]
    assert await resolve(lab, "prx.localhost") is None
    async with registered(lab, made["token"]):
        assert (await get(lab, "app.prx.localhost")).status == 200
        assert (await get(lab, "any.prx.localhost")).status == 200


async def test_names_that_lead_elsewhere(lab: Lab, api: Client) -> None:
    """Unproxied records say where they lead; one to a tunnel leads to no service; a missing tunnel is a 1033."""
    await api("POST", RECORDS, {"type": "A", "name": "a.prx.localhost", "content": "192.0.2.7", "proxied": False})
    await api("POST", RECORDS, {**cname("bare.prx.localhost"), "proxied": False})
    await api("POST", RECORDS, cname("lost.prx.localhost"))
    assert await resolve(lab, "a.prx.localhost") == ["192.0.2.7"]
    assert await resolve(lab, "bare.prx.localhost") == []
    assert await resolve(lab, "bare.prx.localhost", "AAAA") == ["fd10:aec2:5dae::1"]
    assert await resolve(lab, "lost.prx.localhost") == ["127.0.0.1"]
    assert "1033" in (await get(lab, "lost.prx.localhost")).body.decode()


async def test_record_as_it_comes_back(api: Client) -> None:
    """A record comes back with full lower-case name, automatic TTL when proxied, its comment, and when it was made."""
    made = (await api("POST", RECORDS, cname("App", ttl=300, comment="prx x"))).result
    assert (made["name"], made["ttl"], made["comment"], made["tags"]) == ("app.prx.localhost", 1, "prx x", [])
    assert made["created_on"] == made["modified_on"] == made["comment_modified_on"]
    assert (await api("GET", f"{RECORDS}/{made['id']}")).result == made
    named = (await api("POST", RECORDS, cname("büro.prx.localhost"))).result
    assert named["name"] == "xn--bro-hoa.prx.localhost"
    assert (await api("POST", RECORDS, cname("@", OTHER))).result["name"] == "prx.localhost"


@pytest.mark.parametrize(
    ("there", "new", "code"),
    [
        ({"type": "A", "content": "192.0.2.1"}, cname("x"), 81053),
        ({"type": "AAAA", "content": "2001:db8::1"}, cname("x"), 81053),
        (cname("x"), {"type": "A", "content": "192.0.2.1"}, 81053),
        (cname("x"), cname("x", "00000000-0000-4000-8000-000000000002"), 81054),
        (cname("x"), cname("x"), 81058),
        ({"type": "TXT", "content": "v"}, {"type": "TXT", "content": "v"}, 81058),
    ],
)
async def test_conflicts(api: Client, there: dict[str, Any], new: dict[str, Any], code: int) -> None:
    """A name that is taken refuses what cannot stand beside it, by creation and by change, and stays as it was."""
    before = (await api("POST", RECORDS, {**there, "name": "x"})).result
    other = (await api("POST", RECORDS, {**new, "name": "y"})).result
    assert (await api("POST", RECORDS, {**new, "name": "x"})).refused == (400, code)
    assert (await api("PATCH", f"{RECORDS}/{other['id']}", {"name": "x"})).refused == (400, code)
    assert (await api("GET", f"{RECORDS}/{before['id']}")).result == before


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"type": "A", "name": "x", "content": "no address"}, 9005),
        ({"type": "CNAME", "name": "x", "content": "no name!"}, 9007),
        ({"type": "A", "name": "x!", "content": "192.0.2.1"}, 9000),
        ({"type": "A", "name": "x", "content": "192.0.2.1", "ttl": 5}, 9021),
        ({"type": "TXT", "name": "x", "content": "t", "proxied": True}, 9004),
        ({"type": "A", "name": "x", "content": "192.0.2.1", "comment": "c" * 101}, 9300),
        ({"type": "A", "name": "x", "content": "192.0.2.1", "tags": ["a:b"]}, 9302),
        ({"name": "x", "content": "192.0.2.1"}, 1004),
    ],
)
async def test_bad_record(api: Client, record: dict[str, Any], code: int) -> None:
    """A record that Cloudflare would refuse is refused."""
    assert (await api("POST", RECORDS, record)).refused == (400, code)


async def test_change_and_delete(api: Client) -> None:
    """PUT replaces, PATCH changes what it names, DELETE gives the id; what is not there is 81044."""
    made = (await api("POST", RECORDS, {"type": "A", "name": "x", "content": "192.0.2.1", "comment": "old"})).result
    path = f"{RECORDS}/{made['id']}"
    patched = (await api("PATCH", path, {"content": "192.0.2.2"})).result
    assert (patched["content"], patched["comment"], patched["created_on"]) == ("192.0.2.2", "old", made["created_on"])
    put = (await api("PUT", path, cname("x"))).result
    assert (put["id"], put["type"], put["comment"]) == (made["id"], "CNAME", None)
    assert (await api("DELETE", path)).result == {"id": made["id"]}
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert (await api(method, path, cname("x") if method in {"PUT", "PATCH"} else None)).refused == (404, 81044)


async def test_lists(api: Client) -> None:
    """Records are found by name, content, comment and type, with and without operators."""
    await api("POST", RECORDS, cname("a", comment="prx a"))
    await api("POST", RECORDS, {"type": "TXT", "name": "b", "content": "word"})
    for query, names in (
        ({"name": "a.prx.localhost"}, ["a"]),
        ({"name.exact": "b.prx.localhost", "type": "TXT"}, ["b"]),
        ({"content.endswith": ".cfargotunnel.com"}, ["a"]),
        ({"comment.startswith": "prx"}, ["a"]),
        ({"comment.absent": "true"}, ["b"]),
        ({"proxied": "true"}, ["a"]),
        ({"type": "TXT", "name": "a.prx.localhost", "match": "any"}, ["a", "b"]),
        ({"search": "word"}, ["b"]),
        ({"name": "c.prx.localhost"}, []),
    ):
        found = (await api("GET", RECORDS, **query)).result
        assert [record["name"].partition(".")[0] for record in found] == names, query


async def test_batch_is_one_transaction(lab: Lab, api: Client) -> None:
    """A batch deletes, changes and creates together, or does nothing at all."""
    old = (await api("POST", RECORDS, cname("a"))).result
    before = lab.account.exported()
    body = {"deletes": [{"id": old["id"]}], "posts": [cname("b"), {"type": "A", "name": "c", "content": "bad"}]}
    assert (await api("POST", f"{RECORDS}/batch", body)).refused == (400, 9005)
    assert lab.account.exported() == before
    assert await resolve(lab, "b.prx.localhost") is None
    body["posts"].pop()
    done = (await api("POST", f"{RECORDS}/batch", body)).result
    assert [len(done[kind]) for kind in ("deletes", "patches", "puts", "posts")] == [1, 0, 0, 1]
    assert await resolve(lab, "b.prx.localhost") == ["127.0.0.1"]


async def test_slow_dns(lab: Lab, api: Client) -> None:
    """A record may be seen in DNS only after a while, while it is in the account at once."""
    lab.inject(SlowDns(3600))
    await api("POST", RECORDS, cname("a"))
    assert await resolve(lab, "a.prx.localhost") is None
    assert len((await api("GET", RECORDS)).result) == 1
    lab.clear(SlowDns)
    await api("POST", RECORDS, cname("b"))
    assert await resolve(lab, "b.prx.localhost") == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("state", "told", "a", "aaaa"),
    [
        ("pending", ("pending", False, "full"), None, None),
        ("initializing", ("initializing", False, "full"), None, None),
        ("moved", ("moved", False, "full"), None, None),
        ("partial", ("active", False, "partial"), None, None),
        ("paused", ("active", True, "full"), [], ["fd10:aec2:5dae::1"]),
    ],
)
async def test_a_zone_that_does_not_serve(
    lab: Lab, api: Client, state: Any, told: tuple[str, bool, str], a: list[str] | None, aaaa: list[str] | None
) -> None:
    """The API says what the zone is, and finds it by that alone; its names do not resolve, or to what cannot be reached."""
    await api("POST", RECORDS, cname("app"))
    await lab.play(f"zone-state {state}")
    (zone,) = (await api("GET", "/zones", status=told[0], type=told[2])).result
    assert (zone["status"], zone["paused"], zone["type"]) == told
    assert (await api("GET", "/zones", status="active", type="full")).result == ([zone] if state == "paused" else [])
    assert await resolve(lab, "app.prx.localhost") == a
    assert await resolve(lab, "app.prx.localhost", "AAAA") == aaaa
    lab.clear(ZoneState)
    assert await resolve(lab, "app.prx.localhost") == ["127.0.0.1"]


async def test_a_delegation_hides_what_is_below(lab: Lab, api: Client) -> None:
    """An NS record gives its name, and all below it, to other servers; who asks for it learns which records that hides."""
    for name in ("a.sub", "b.a.sub", "sub2", "subs"):
        await api("POST", RECORDS, cname(name))
    ns = (await api("POST", RECORDS, {"type": "NS", "name": "sub.prx.localhost", "content": "ns1.example.net"})).result
    assert await resolve(lab, "a.sub.prx.localhost") is None
    assert await resolve(lab, "sub2.prx.localhost") == ["127.0.0.1"]
    listed = (await api("GET", RECORDS, include_shadow_metadata="true")).result
    shadowed = {item["name"]: item["meta"]["shadowed_by"] for item in listed if item["meta"]}
    assert shadowed == {"a.sub.prx.localhost": [ns["id"]], "b.a.sub.prx.localhost": [ns["id"]]}
    assert not any(item["meta"] for item in (await api("GET", RECORDS)).result)
    for record in (cname("sub"), {"type": "A", "name": "sub", "content": "192.0.2.1"}):
        assert (await api("POST", RECORDS, record)).refused == (400, 81056)
    assert (await api("POST", RECORDS, {"type": "NS", "name": "sub2", "content": "ns1.example.net"})).refused == (400, 81056)
    assert (await api("POST", RECORDS, {"type": "NS", "name": "sub", "content": "ns2.example.net"})).status == 200


async def test_cloudflareds_own_way(api: Client) -> None:
    """`…/routes` makes, finds and, only if asked, replaces a record; a name of another zone lands below this one."""
    made = await api.tunnel("web")
    path = f"{ZONE}/tunnels/{made['id']}/routes"
    body = {"type": "dns", "user_hostname": "app.prx.localhost", "overwrite_existing": False}
    assert (await api("PUT", path, body)).result["cname"] == "new"
    assert (await api("PUT", path, body)).result["cname"] == "unchanged"
    other = await api.tunnel("other")
    path = f"{ZONE}/tunnels/{other['id']}/routes"
    assert (await api("PUT", path, body)).refused == (400, 1003)
    assert (await api("PUT", path, {**body, "overwrite_existing": True})).result["cname"] == "updated"
    (record,) = (await api("GET", RECORDS)).result
    assert record["content"].startswith(other["id"])
    told = (await api("PUT", path, {**body, "user_hostname": "app.other.com"})).result
    assert told["name"] == "app.other.com.prx.localhost"
