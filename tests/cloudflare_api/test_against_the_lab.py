"""Set-ups against the lab's API: what is refused, what is left alone, what is given back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import httpx2
import pytest
from tests.cloudflare_api.bench import Machine
from tests.cloudflare_api.standin import Breaking, Stand

from prx.cloudflare_api.apply import MovedError, Setup
from prx.cloudflare_api.errors import ApiError, MissingRightError, TokenRefusedError, ZeroTrustOffError
from prx.cloudflare_api.plan import FileState, plan_setup
from prx.cloudflare_api.things import Connector
from prx.cloudflare_api.wishes import TokenWish, Wish
from prx.cloudflare_api.world import find_zone, observe
from prx.core.errors import PrxError
from prx.lab.edge.api import permissions
from prx.lab.edge.api.habits import Habits
from prx.lab.edge.faults.api_faults import ZoneIs, ZoneState
from prx.lab.edge.registry import Connection
from prx.lab.protocol.rpc.registration import RegisterRequest
from prx.runtime.host.clock import SystemClock


def guarded(hostname: str, **changes: Any) -> Wish:
    """Return a wish with everything in it."""
    wish = Wish(hostname, "http://127.0.0.1:8080", allow=("you@example.com",), public_paths=("/hooks/*",))
    return replace(wish, service_tokens=(TokenWish("ci"),), **changes)


def ask(stand: Stand, method: str, path: str, body: Any = None) -> Any:
    """Call the lab's API as another client does."""
    headers = {"Authorization": f"Bearer {stand.lab.api_token}"}
    answer = httpx2.request(method, f"{stand.lab.api}{path}", json=body, headers=headers, trust_env=False)
    assert answer.is_success, answer.text
    return answer.json()["result"]


def add_record(stand: Stand, zone: str, **record: Any) -> Any:
    """Make a DNS record that is not prx's."""
    return ask(stand, "POST", f"/zones/{zone}/dns_records", {"ttl": 300, "proxied": False, **record})


@pytest.fixture
def zone(stand: Stand) -> str:
    """Return the id of the lab's zone."""
    return str(stand.lab.api_access()["zone_id"])


FOREIGN = [
    [{"type": "A", "content": "192.0.2.7", "comment": "the old server"}],
    [{"type": "A", "content": "192.0.2.7"}, {"type": "AAAA", "content": "2001:db8::7", "comment": "v6"}],
    [{"type": "CNAME", "content": "11111111-5aa8-4807-8600-7b38c06b45fa.cfargotunnel.com", "proxied": True, "ttl": 1}],
    [{"type": "CNAME", "content": "shop.example.net"}],
]


def without_times(text: str) -> Any:
    """Return the state without what changes by the very act of giving something back: the time, and the id of a new record."""
    state = json.loads(text)
    for record in state["dns_records"]:
        for key in ("modified_on", "created_on", "comment_modified_on", "id", "meta", "tags_modified_on"):
            record.pop(key, None)
    state["dns_records"].sort(key=lambda record: (record["name"], record["type"]))
    return state


@pytest.mark.parametrize("records", FOREIGN, ids=["a", "a-and-aaaa", "another-tunnel", "elsewhere"])
def test_a_foreign_record_is_refused_and_given_back(machine: Machine, hostname: str, zone: str, records: list[Any]) -> None:
    """Refused, shown, unchanged; with the flag it is changed, and teardown puts it back as it was."""
    for record in records:
        add_record(machine.stand, zone, name=hostname, **record)
    before = machine.stand.exported()
    writes = machine.stand.writes()
    plan = machine.set_up(guarded(hostname))
    assert all(record["content"] in plan.refused[0] for record in records)
    assert (machine.stand.exported(), machine.stand.writes()) == (before, writes)
    assert machine.set_up(guarded(hostname), overwrite_dns=True).refused == ()
    assert machine.plan(guarded(hostname)).changes == ()
    machine.tear_down(hostname)
    assert without_times(machine.stand.exported()) == without_times(before)
    for record in machine.stand.do(lambda: [item.id for item in machine.stand.account.records.of(hostname)]):
        ask(machine.stand, "DELETE", f"/zones/{zone}/dns_records/{record}")


def test_a_foreign_one_time_pin_stays(machine: Machine, hostname: str) -> None:
    """If the one-time PIN that prx switched on was replaced by another, teardown leaves that one."""
    account = machine.stand.lab.api_access()["account_id"]
    providers = f"/accounts/{account}/access/identity_providers"
    machine.set_up(guarded(hostname))
    made = machine.memory(hostname).pin_id
    ask(machine.stand, "DELETE", f"{providers}/{made}")
    theirs = ask(machine.stand, "POST", providers, {"type": "onetimepin", "name": "theirs", "config": {}})
    machine.tear_down(hostname)
    pins = [item["id"] for item in ask(machine.stand, "GET", providers) if item["type"] == "onetimepin"]
    assert (bool(made), pins) == (True, [theirs["id"]])
    ask(machine.stand, "DELETE", f"{providers}/{theirs['id']}")


def test_a_foreign_application_is_refused(machine: Machine, hostname: str) -> None:
    """Another person's application on the name is named, and stays as it is."""
    account = machine.stand.lab.api_access()["account_id"]
    body = {"type": "self_hosted", "name": "payroll", "domain": hostname, "policies": []}
    made = ask(machine.stand, "POST", f"/accounts/{account}/access/apps", body)
    before = machine.stand.exported()
    plan = machine.set_up(guarded(hostname))
    assert "'payroll'" in plan.refused[0]
    assert machine.stand.exported() == before
    ask(machine.stand, "DELETE", f"/accounts/{account}/access/apps/{made['id']}")


ROWS = {
    "Zone Read": "Zone › Zone › Read",
    "Zone Write": "Zone › Zone › Read",
    "DNS": "Zone › DNS › Edit",
    "Cloudflare Tunnel": "Account › Cloudflare Tunnel › ",
    "Access: Apps and Policies": "Account › Access: Apps and Policies › Edit",
    "Access: Service Tokens": "Account › Access: Service Tokens › Edit",
    "Access: Organizations": "Account › Access: Organizations, Identity Providers, and Groups › ",
}


@pytest.mark.parametrize(("row", "title"), [pair for pair in ROWS.items() if pair[0] != "Zone Read"])
def test_each_missing_permission_is_named(machine: Machine, hostname: str, row: str, title: str) -> None:
    """A token that lacks one row: the message names that row as the dashboard does, nothing is changed."""
    before = machine.stand.exported()
    machine.token = machine.stand.token(without="Zone " if row.startswith("Zone") else row)
    with pytest.raises(MissingRightError) as caught:
        machine.set_up(guarded(hostname))
    assert title in caught.value.message
    assert "dash.cloudflare.com/profile/api-tokens?permissionGroupKeys=" in caught.value.hint
    assert machine.stand.exported() == before


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (("Zone Read", "DNS Write", "Cloudflare Tunnel Read"), "Account › Cloudflare Tunnel › Edit"),
        (("Zone Read", "DNS Read", "Cloudflare Tunnel Write"), "Zone › DNS › Edit"),
    ],
    ids=["tunnel", "dns"],
)
def test_a_permission_to_read_is_not_one_to_write(machine: Machine, hostname: str, names: tuple[str, ...], title: str) -> None:
    """The permission that a write takes is named where only the one to read is there; more rights then finish it."""
    before = machine.stand.exported()
    machine.token = machine.stand.token(*names)
    with pytest.raises(MissingRightError) as caught:
        machine.set_up(Wish(hostname, "http://127.0.0.1:8080"))
    assert title in caught.value.message
    machine.token = ""
    machine.set_up(Wish(hostname, "http://127.0.0.1:8080"))
    machine.tear_down(hostname)
    assert machine.stand.exported() == before


_GROUPS = "Organizations, Identity Providers, and Groups"
READ_ONLY = {
    "Access: Apps and Policies": "Account › Access: Apps and Policies › Edit",
    "Access: Service Tokens": "Account › Access: Service Tokens › Edit",
    "Access: Organizations, Identity Providers, and Groups": f"Account › Access: {_GROUPS} › Edit",
    "Cloudflare Tunnel": "Account › Cloudflare Tunnel › Edit",
    "DNS": "Zone › DNS › Edit",
}


@pytest.mark.parametrize("row", READ_ONLY)
def test_a_row_that_may_only_be_read_is_named(machine: Machine, hostname: str, row: str) -> None:
    """A plan needs no more; what is carried out stops at that row, names it, and is finished with a whole token."""
    before = machine.stand.exported()
    others = [name for name in permissions.ALL if not name.startswith(row)]
    machine.token = machine.stand.token(f"{row} Read", *others)
    assert machine.plan(guarded(hostname)).refused == ()
    assert machine.stand.exported() == before
    with pytest.raises(MissingRightError) as caught:
        machine.set_up(guarded(hostname))
    assert f"lacks the permission {READ_ONLY[row]}" in caught.value.message
    names, link = caught.value.hint.split(": https://")
    assert names.count(READ_ONLY[row].removesuffix(" › Edit")) == 1
    asked = json.loads(unquote(parse_qs(urlsplit(link).query)["permissionGroupKeys"][0]))
    assert len({item["key"] for item in asked}) == len(asked)
    machine.token = ""
    machine.set_up(guarded(hostname))
    assert machine.plan(guarded(hostname)).changes == ()
    machine.tear_down(hostname)
    assert machine.stand.exported() == before


def gone_connection(tunnel: Any) -> Connection:
    """Return a connection of a connector that has just ended."""
    request = RegisterRequest("", b"", tunnel.id, 0, UUID("11111111-5aa8-4807-8600-7b38c06b45fa"), version="2026.8.2")
    carrier: Any = SimpleNamespace(peer="192.0.2.1")
    return Connection(tunnel.id, tunnel, request, "lab01", carrier, 0.0, gone_at=SystemClock().wall())


def test_connections_that_are_remembered_do_not_count(machine: Machine, hostname: str) -> None:
    """What Cloudflare lists as gone is no connector on this token, and does not keep a removal from ending."""
    machine.set_up(Wish(hostname, "http://127.0.0.1:8080"))
    tunnel, client = machine.memory(hostname).tunnel_id, "11111111-5aa8-4807-8600-7b38c06b45fa"

    def connection(*, gone: bool) -> dict[str, Any]:
        return {"id": client, "client_version": "2026.8.2", "is_pending_reconnect": gone, "origin_ip": "192.0.2.1"}

    for listed, count in ([True, True], 0), ([True, False], 1), ([False, False], 2):
        document = {"id": client, "version": "2026.8.2", "conns": [connection(gone=gone) for gone in listed]}
        assert Connector.read(document).connections == count
    with machine.stand.api() as api, habits(machine.stand, gone_connections="remembered"):
        found = machine.stand.do(lambda: next(t for t in machine.stand.account.tunnels.living() if str(t.id) == tunnel))
        machine.stand.do(lambda: found.gone.append(gone_connection(found)))
        account = machine.stand.lab.api_access()["account_id"]
        assert len(ask(machine.stand, "GET", f"/accounts/{account}/cfd_tunnel/{tunnel}/connections")) == 1
        assert api.connectors(account, tunnel) == []
        machine.tear_down(hostname)


@contextmanager
def habits(stand: Stand, **values: str) -> Iterator[None]:
    """Have the lab answer so if it is not known which of two answers Cloudflare gives."""
    old = stand.account.habits
    stand.account.habits = old.changed(values)
    try:
        yield
    finally:
        stand.account.habits = old


@pytest.mark.parametrize("status", ["403", "400"])
def test_zero_trust_that_is_off_is_switched_on_at_one_place(machine: Machine, hostname: str, status: str) -> None:
    """The message says where, and a set-up without Access works all the same."""
    machine.stand.account.enabled = False
    before = machine.stand.exported()
    try:
        with habits(machine.stand, not_enabled=status):
            with pytest.raises(ZeroTrustOffError) as caught:
                machine.set_up(guarded(hostname))
            assert "https://one.dash.cloudflare.com" in caught.value.hint
            assert machine.stand.exported() == before
            machine.set_up(Wish(hostname, "http://127.0.0.1:8080"))
            machine.tear_down(hostname)
    finally:
        machine.stand.account.enabled = True


HABITS = [(name, value) for name, kind in get_type_hints(Habits).items() for value in get_args(kind)[1:]]


@pytest.mark.parametrize(("name", "value"), HABITS, ids=[f"{name}-{value}" for name, value in HABITS])
def test_either_answer_of_an_unsure_fact_is_taken(machine: Machine, hostname: str, name: str, value: str) -> None:
    """Where it is not known which of two answers Cloudflare gives, a set-up, a second one and a removal work with both."""
    before = machine.stand.exported()
    with habits(machine.stand, **{name: value}):
        machine.transport = Breaking()
        machine.set_up(guarded(hostname))
        assert machine.plan(guarded(hostname)).changes == ()
        fewer = replace(guarded(hostname), service_tokens=())
        machine.set_up(fewer)
        assert machine.plan(fewer).changes == ()
        machine.tear_down(hostname)
    assert machine.stand.exported() == before


@pytest.mark.parametrize("name", ["cfd_tunnel", "dns_records", "access/apps", "access/service_tokens"])
def test_a_lost_answer_is_no_twin_with_either_habit(machine: Machine, hostname: str, name: str) -> None:
    """A create whose answer is lost is found by its name in the same run, and the run goes on."""
    machine.transport = seen = Breaking()
    machine.set_up(guarded(hostname))
    machine.tear_down(hostname)
    creates = [number for number, line in enumerate(seen.seen) if line.startswith("POST") and line.endswith(name)]
    for number in creates:
        before = machine.stand.exported()
        machine.transport = Breaking(number, "lost")
        machine.set_up(guarded(hostname))
        machine.transport = None
        assert machine.plan(guarded(hostname)).changes == ()
        machine.tear_down(hostname)
        assert machine.stand.exported() == before


@pytest.mark.parametrize("value", get_args(get_type_hints(Habits)["unknown_token"]))
@pytest.mark.parametrize("dead", ["unknown", "revoked", "expired"])
def test_a_dead_token_is_said_to_be_dead(machine: Machine, hostname: str, dead: str, value: str) -> None:
    """Whatever status and code Cloudflare has for it, the token is named as the cause, not a permission."""
    tokens = machine.stand.account.tokens
    machine.token = "cfut_" + "a" * 40 if dead == "unknown" else machine.stand.token()
    if dead == "revoked":
        machine.stand.do(lambda: tokens.revoke(machine.token))
    elif dead == "expired":
        machine.stand.do(lambda: setattr(tokens.find(machine.token), "expires_at", 1.0))
    before = machine.stand.exported()
    with habits(machine.stand, unknown_token=value), pytest.raises(TokenRefusedError) as caught:
        machine.set_up(guarded(hostname))
    assert "does not know this API token" in caught.value.message
    assert machine.stand.exported() == before


def test_a_world_that_has_moved_is_refused(machine: Machine, hostname: str, zone: str) -> None:
    """A plan is not carried out if another person changed something since."""
    wish, memory = guarded(hostname), machine.memory(hostname)
    with machine.stand.api() as api:

        def look() -> Any:
            return observe(api, find_zone(api, hostname), hostname, memory, machine._local(hostname), access=True)

        plan = plan_setup(look(), wish, memory, FileState("prx.toml", False))
        record = add_record(machine.stand, zone, name=hostname, type="A", content="192.0.2.9")
        writes = machine.stand.writes()
        with pytest.raises(MovedError):
            Setup(api, look(), wish, memory=memory, journal=machine.journal, ports=machine._ports(wish)).run(plan)
        assert machine.stand.writes() == writes
    ask(machine.stand, "DELETE", f"/zones/{zone}/dns_records/{record['id']}")


def test_no_protection_goes_before_something_else_stands(machine: Machine, hostname: str) -> None:
    """From protected to open and back: the application is made before the rules rest on it, and deleted after they do not."""
    before = machine.stand.exported()
    opened = Wish(hostname, "http://127.0.0.1:8080")
    machine.set_up(opened)
    machine.transport = seen = Breaking()
    machine.set_up(guarded(hostname))
    writes = [line.rpartition("/")[2] for line in seen.seen if not line.startswith("GET")]
    assert writes.index("apps") < writes.index("configurations")
    machine.transport = seen = Breaking()
    machine.set_up(opened)
    writes = [line for line in seen.seen if not line.startswith("GET")]
    assert writes[0].endswith("/configurations")
    assert "/access/apps/" in writes[1]
    assert "/access/service_tokens/" in writes[2]
    machine.transport = None
    machine.tear_down(hostname)
    assert machine.stand.exported() == before


def test_another_machine_finds_what_the_first_has_made(machine: Machine, hostname: str, tmp_path: Any) -> None:
    """Without a journal the marks alone tell what is prx's: nothing is made twice, and it can be taken back."""
    before = machine.stand.exported()
    machine.set_up(guarded(hostname))
    (tmp_path / "other").mkdir()
    other = Machine(machine.stand, tmp_path / "other")
    assert {step.what for step in other.set_up(guarded(hostname)).changes} == {"secret", "file"}
    other.tear_down(hostname)
    assert json.loads(machine.stand.exported())["tunnels"] == json.loads(before)["tunnels"]
    machine.tear_down(hostname)
    assert machine.stand.exported() == before


@pytest.mark.parametrize("state", get_args(ZoneIs))
def test_a_zone_that_does_not_serve_is_no_surprise(machine: Machine, hostname: str, state: ZoneIs) -> None:
    """Set-up and teardown work in it; the plan says that the name will not, and why; without the fault it says nothing."""
    before = machine.stand.exported()
    machine.stand.do(lambda: machine.stand.lab.inject(ZoneState(state)))
    try:
        (line,) = machine.set_up(guarded(hostname)).obstacles
        assert state in line
        assert ("ada.ns.prx.localhost" in line) == (state in {"pending", "initializing", "moved"})
        machine.tear_down(hostname)
    finally:
        machine.stand.do(lambda: machine.stand.lab.clear(ZoneState))
    assert machine.plan(guarded(hostname)).obstacles == ()
    assert machine.stand.exported() == before


def test_a_delegation_is_seen_before_and_after(machine: Machine, hostname: str, zone: str) -> None:
    """An NS record above the name is a warning; one on the name is another's record, in the way."""
    below, before = f"agent.{hostname}", machine.stand.exported()
    ns = add_record(machine.stand, zone, type="NS", name=hostname, content="ns1.example.net")
    for _ in range(2):
        (line,) = machine.set_up(guarded(below)).obstacles
        assert f"{hostname} is delegated to ns1.example.net" in line
    writes = machine.stand.writes()
    assert "NS" in machine.set_up(guarded(hostname)).refused[0]
    assert machine.stand.writes() == writes
    machine.tear_down(below)
    ask(machine.stand, "DELETE", f"/zones/{zone}/dns_records/{ns['id']}")
    assert machine.stand.exported() == before


def test_a_name_of_no_zone_is_refused(machine: Machine) -> None:
    """A domain that the token does not see is said to be so."""
    with pytest.raises(PrxError) as caught:
        machine.set_up(Wish("agent.example.net", "http://127.0.0.1:8080"))
    assert "no zone of your account holds agent.example.net" in caught.value.message
    assert not isinstance(caught.value, ApiError)


def test_a_kept_service_token_is_printed_nowhere(machine: Machine, hostname: str) -> None:
    """`NAME=secret:ENTRY` puts both values into the secrets manager; a lost entry leads to a new secret."""
    wish = replace(guarded(hostname), service_tokens=(TokenWish("ci", "ci-token"),))
    machine.set_up(wish)
    assert machine.printed == []
    first = machine.secrets.pop("ci-token")
    machine.set_up(wish)
    assert machine.secrets["ci-token"] != first
    assert machine.plan(wish).changes == ()
    machine.tear_down(hostname)
