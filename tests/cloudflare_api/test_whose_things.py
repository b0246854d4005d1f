"""What prx has made and what it has not, in cases that are easily confused: real calls to the API of the lab."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.cloudflare_api.bench import Machine
from tests.cloudflare_api.standin import Breaking, Killed
from tests.cloudflare_api.test_against_the_lab import add_record, ask, guarded, without_times

from prx.cloudflare_api.errors import ApiError
from prx.cloudflare_api.wishes import TokenWish, Wish, token_name
from prx.core.errors import PrxError

DAY = 86_400.0


def zone_of(machine: Machine) -> str:
    """Return the id of the lab's zone."""
    return str(machine.stand.lab.api_access()["zone_id"])


class Refusing(Breaking):
    """Refuse every write whose path ends so, in one of the ways in which it surely had no effect."""

    def __init__(self, end: str, answer: tuple[int, int] | None) -> None:
        super().__init__()
        self.end, self.answer = end, answer

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Refuse it, or pass it on."""
        if request.method == "GET" or self.end not in request.url.path:
            return super().handle_request(request)
        if self.answer is None:
            raise httpx2.ConnectError("no way out", request=request)
        status, code = self.answer
        return httpx2.Response(status, json={"success": False, "errors": [{"code": code, "message": "no"}], "result": None})


SURELY_NOT = [(403, 10000), (401, 1000), (429, 971), (400, 12130), None]


@pytest.mark.parametrize("answer", SURELY_NOT)
def test_a_one_time_pin_that_was_refused_is_another_hands_later(
    machine: Machine, hostname: str, answer: tuple[int, int] | None
) -> None:
    """Refused to prx and then made by an administrator, it is theirs: teardown leaves it."""
    account = machine.stand.lab.api_access()["account_id"]
    providers = f"/accounts/{account}/access/identity_providers"
    machine.transport = Refusing("identity_providers", answer)
    with pytest.raises(ApiError):
        machine.set_up(guarded(hostname))
    machine.transport = None
    theirs = ask(machine.stand, "POST", providers, {"type": "onetimepin", "name": "theirs", "config": {}})
    machine.set_up(guarded(hostname))
    machine.tear_down(hostname)
    assert theirs["id"] in [item["id"] for item in ask(machine.stand, "GET", providers)]
    ask(machine.stand, "DELETE", f"{providers}/{theirs['id']}")


def test_a_one_time_pin_that_another_made_in_that_moment_is_theirs(machine: Machine, hostname: str) -> None:
    """The answer "exists already" to a first request means that another hand was faster."""
    account = machine.stand.lab.api_access()["account_id"]
    providers = f"/accounts/{account}/access/identity_providers"
    theirs: list[Any] = []

    class Faster(Breaking):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.method == "POST" and "identity_providers" in request.url.path and not theirs:
                theirs.append(ask(machine.stand, "POST", providers, {"type": "onetimepin", "name": "theirs", "config": {}}))
            return super().handle_request(request)

    machine.transport = Faster()
    machine.set_up(guarded(hostname))
    machine.tear_down(hostname)
    assert theirs[0]["id"] in [item["id"] for item in ask(machine.stand, "GET", providers)]
    ask(machine.stand, "DELETE", f"{providers}/{theirs[0]['id']}")


@pytest.mark.parametrize("answer", SURELY_NOT)
def test_a_record_that_was_not_overwritten_does_not_come_back(
    machine: Machine, hostname: str, answer: tuple[int, int] | None
) -> None:
    """What `--overwrite-dns` could not overwrite, and its owner then removed, is not given back by teardown."""
    zone = zone_of(machine)
    record = add_record(machine.stand, zone, name=hostname, type="A", content="192.0.2.7")
    machine.transport = Refusing("dns_records", answer)
    with pytest.raises(PrxError):
        machine.set_up(Wish(hostname, "http://127.0.0.1:8080"), overwrite_dns=True)
    machine.transport = None
    ask(machine.stand, "DELETE", f"/zones/{zone}/dns_records/{record['id']}")
    before = json.loads(machine.stand.exported())["dns_records"]
    machine.set_up(Wish(hostname, "http://127.0.0.1:8080"))
    machine.tear_down(hostname)
    assert json.loads(machine.stand.exported())["dns_records"] == before


@pytest.mark.parametrize("comment", ["prx demo server", "prx", "prx 11111111-5aa8-4807-8600-7b38c06b45fa", "PRX x"])
def test_a_remark_that_begins_like_prxs_is_given_back(machine: Machine, hostname: str, comment: str) -> None:
    """Only the whole mark makes a record prx's; another one that was overwritten comes back with its remark."""
    zone = zone_of(machine)
    record = add_record(machine.stand, zone, name=hostname, type="A", content="192.0.2.7", comment=comment)
    before = without_times(machine.stand.exported())
    machine.set_up(Wish(hostname, "http://127.0.0.1:8080"), overwrite_dns=True)
    machine.tear_down(hostname)
    assert without_times(machine.stand.exported()) == before
    for one in machine.stand.do(lambda: [item.id for item in machine.stand.account.records.of(hostname)]):
        ask(machine.stand, "DELETE", f"/zones/{zone}/dns_records/{one}")
    assert record["comment"] == comment


@pytest.mark.parametrize("tokens", [(), (TokenWish("ci"),), (TokenWish("ci"), TokenWish("gh")), (TokenWish("ci", "ci-token"),)])
def test_another_machine_takes_back_the_service_tokens_too(
    machine: Machine, hostname: str, tmp_path: Path, tokens: tuple[TokenWish, ...]
) -> None:
    """Without a journal a removal finds everything by its mark: tunnel, record, application and service tokens."""
    before = json.loads(machine.stand.exported())
    machine.set_up(replace(guarded(hostname), service_tokens=tokens))
    (tmp_path / "other").mkdir()
    Machine(machine.stand, tmp_path / "other").tear_down(hostname)
    after = json.loads(machine.stand.exported())
    for kind in before.keys() - {"identity_providers"}:  # who made the one-time PIN stands in the first machine's journal
        assert after[kind] == before[kind]
    machine.tear_down(hostname)


@pytest.mark.parametrize("kept", ["ci-token", "ci.token", "t", "x" * 61])
def test_a_secret_of_an_earlier_token_is_not_taken_for_the_new_one(machine: Machine, hostname: str, kept: str) -> None:
    """Entries of an old copy count for nothing: a set-up that is killed before it has put new ones there goes on."""
    wish = replace(guarded(hostname), service_tokens=(TokenWish("ci", kept),))
    machine.transport = seen = Breaking()
    machine.set_up(wish)
    made = next(at for at, line in enumerate(seen.seen) if line.startswith("POST") and line.endswith("service_tokens"))
    old = {name: machine.secrets[name] for name in (kept, f"{kept}-id")}
    machine.tear_down(hostname)
    assert not old.keys() & machine.secrets.keys()
    machine.secrets |= old
    machine.transport = Breaking(made, "killed-after")
    with pytest.raises(Killed):
        machine.set_up(wish)
    machine.transport = None
    machine.set_up(wish)
    store = machine.stand.account.access
    tokens = {token.client_id: token for token in machine.stand.do(lambda: list(store.service_tokens.values()))}
    assert tokens[machine.secrets[f"{kept}-id"]].fits(machine.secrets[kept], store.wall())
    machine.tear_down(hostname)


@pytest.mark.parametrize("left", [-400 * DAY, -1.0, DAY, 29 * DAY])
def test_a_service_token_goes_on_before_it_ends(machine: Machine, hostname: str, left: float) -> None:
    """A token of last year is good for another one, with the values that its owner has."""
    machine.set_up(guarded(hostname))
    _, _, secret = machine.printed[-1]
    store = machine.stand.account.access
    name = token_name(hostname, "ci")
    token = machine.stand.do(lambda: next(item for item in store.service_tokens.values() if item.name == name))
    machine.stand.do(lambda: setattr(token, "expires_at", store.wall() + left))
    (step,) = machine.plan(guarded(hostname)).changes
    assert (step.action, step.what, "another year" in step.then) == ("change", "service_token", True)
    machine.set_up(guarded(hostname))
    assert machine.plan(guarded(hostname)).changes == ()
    assert token.expires_at > store.wall() + 300 * DAY
    assert token.fits(secret, store.wall())
    machine.tear_down(hostname)


def test_a_lost_answer_to_a_year_more_is_asked_again(machine: Machine, hostname: str) -> None:
    """The set-up goes on, and the token is good for a year."""
    machine.set_up(guarded(hostname))
    store = machine.stand.account.access
    token = machine.stand.do(lambda: next(iter(store.service_tokens.values())))
    machine.stand.do(lambda: setattr(token, "expires_at", store.wall() + DAY))
    machine.transport = seen = Breaking()
    machine.plan(guarded(hostname))
    machine.transport = Breaking(len(seen.seen), "lost")
    machine.set_up(guarded(hostname))
    assert machine.transport.broken
    assert token.expires_at > store.wall() + 300 * DAY
    machine.transport = None
    machine.tear_down(hostname)


def keeping(hostname: str, *tokens: TokenWish) -> Wish:
    """Return a wish with service tokens that are kept in the secrets manager."""
    return replace(guarded(hostname), service_tokens=tokens)


TWO = (TokenWish("ci", "ci-token"), TokenWish("gh", "gh"))


def test_what_teardown_deletes_is_kept_no_longer(machine: Machine, hostname: str) -> None:
    """The two values of a service token go from the secrets manager with the token; the plan says so, and others stay."""
    machine.secrets["mine"] = "of the operator"
    machine.set_up(keeping(hostname, *TWO))
    assert {"ci-token", "ci-token-id", "gh", "gh-id"} <= machine.secrets.keys()
    plan = machine.tear_down(hostname)
    assert machine.secrets == {"mine": "of the operator"}
    assert [step.then for step in plan.steps if step.what == "service_token"] == [
        "gone; secret:ci-token and secret:ci-token-id go with it",
        "gone; secret:gh and secret:gh-id go with it",
    ]
    assert plan.left == ()


def test_a_token_that_is_wished_for_no_longer_is_kept_no_longer(machine: Machine, hostname: str) -> None:
    """So it is for a set-up that deletes one; what another one that stays is kept in is not touched."""
    machine.set_up(keeping(hostname, *TWO))
    machine.set_up(keeping(hostname, TWO[1]))
    assert {"gh", "gh-id"} <= machine.secrets.keys()
    assert not {"ci-token", "ci-token-id"} & machine.secrets.keys()
    machine.set_up(keeping(hostname, TokenWish("new", "gh")))  # in the entries of the one that goes
    store = machine.stand.account.access
    tokens = {token.client_id: token for token in machine.stand.do(lambda: list(store.service_tokens.values()))}
    assert tokens[machine.secrets["gh-id"]].fits(machine.secrets["gh"], store.wall())
    machine.tear_down(hostname)
    assert not machine.secrets


@pytest.mark.parametrize("how", ["another value", "named by the file", "gone at Cloudflare", "gone here"])
def test_entries_that_may_be_of_another_stay(machine: Machine, hostname: str, how: str) -> None:
    """Only what is known to be that token's goes; of what stays the plan says why."""
    machine.set_up(keeping(hostname, TWO[0]))
    store = machine.stand.account.access
    if how == "another value":
        machine.secrets["ci-token-id"] = "0123.access"
    elif how == "named by the file":
        machine.in_use.add("ci-token")
    elif how == "gone at Cloudflare":
        machine.stand.do(store.service_tokens.clear)
    else:
        del machine.secrets["ci-token"], machine.secrets["ci-token-id"]
    before = {name for name in machine.secrets if name.startswith("ci-token")}
    plan = machine.tear_down(hostname)
    assert {name for name in machine.secrets if name.startswith("ci-token")} == before
    why = {"named by the file": "the file names it", "gone here": ""}.get(how, "it may hold something else by now")
    assert plan.left == ((f"secret:ci-token, where the service token ci was kept, stays: {why}",) if why else ())
    assert plan.left == plan.notes[: len(plan.left)]


class NoZones(Breaking):
    """Answer as for an account that the zone has left: it is not listed, and nothing in it can be asked for."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Show no zone."""
        if request.url.path.endswith("/zones"):
            return httpx2.Response(200, json={"success": True, "errors": [], "messages": [], "result": []})
        assert "/zones/" not in request.url.path, request.url
        return super().handle_request(request)


@pytest.mark.parametrize("overwritten", [False, True])
def test_a_zone_that_has_left_the_account_keeps_nothing_else(machine: Machine, hostname: str, overwritten: bool) -> None:
    """All else goes, the tunnel before what guards it; what stays is said, and given back later."""
    zone, before = zone_of(machine), without_times(machine.stand.exported())
    record = add_record(machine.stand, zone, name=hostname, type="A", content="192.0.2.7") if overwritten else None
    with_record = without_times(machine.stand.exported())
    machine.set_up(keeping(hostname, *TWO), overwrite_dns=overwritten)
    machine.transport = NoZones()
    plan = machine.tear_down(hostname)
    machine.transport = None
    kinds = [step.what for step in plan.changes]
    assert "dns" not in kinds
    assert kinds.index("tunnel") < kinds.index("application") < kinds.index("service_token")
    assert not machine.secrets
    assert "no zone of your account holds" in plan.left[0]
    assert ("192.0.2.7" in plan.left[-1]) is overwritten
    assert len(machine.journal.all()) == (1 if overwritten else 0)
    after = json.loads(machine.stand.exported())
    assert {item["name"] for item in after["dns_records"]} >= {hostname}
    machine.tear_down(hostname)  # the zone is back
    assert without_times(machine.stand.exported()) == with_record
    assert not machine.journal.all()
    if record is not None:
        for one in machine.stand.do(lambda: [item.id for item in machine.stand.account.records.of(hostname)]):
            ask(machine.stand, "DELETE", f"/zones/{zone}/dns_records/{one}")
    assert without_times(machine.stand.exported()) == before


def test_a_zone_that_nobody_knows_is_still_refused(machine: Machine, hostname: str) -> None:
    """Of a name that prx knows nothing of, not even the account is known: nothing is done."""
    machine.transport = NoZones()
    with pytest.raises(PrxError, match="no zone of your account holds"):
        machine.tear_down(hostname)
