"""Faults of the API: what a client meets, and what has taken effect all the same."""

from __future__ import annotations

import re
from typing import Any, get_args, get_type_hints

import httpx2
import pytest
from tests.lab.edge.api.client import ACCOUNT, RECORDS, TUNNELS, Client, calling

from prx.lab import Lab, LabConfig
from prx.lab.edge.api.habits import Habits
from prx.lab.edge.faults import notation
from prx.lab.edge.faults.api_faults import Api, ApiHides
from prx.lab.events import ApiAnswered, LabEvent

NEW = {"name": "web", "config_src": "cloudflare"}


def names(lab: Lab) -> list[str]:
    """The names of the account's tunnels."""
    return [tunnel.name for tunnel in lab.account.tunnels.living()]


@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        (Api("forbidden"), (403, 10000)),
        (Api("rate_limited"), (429, 971)),
        (Api("error"), (500, 10002)),
        (Api("error", status=400, code=1234), (400, 1234)),
        (Api("unsuccessful"), (200, 10002)),
        (Api("conflict"), (409, 1013)),
    ],
)
async def test_refusals(lab: Lab, api: Client, fault: Api, refused: tuple[int, int]) -> None:
    """A call that is refused by a fault has no effect; the next one has."""
    lab.inject(notation.from_json({**notation.describe(fault), "times": 1}))
    assert (await api("POST", TUNNELS, NEW)).refused == refused
    assert names(lab) == []
    await api.tunnel("web")


async def test_rate_limit_says_when(lab: Lab, api: Client) -> None:
    """429 comes with Retry-After if the fault says so, else without."""
    lab.inject(Api("rate_limited", retry_after=7))
    told = await api("GET", TUNNELS)
    assert (told.headers["retry-after"], told.headers["ratelimit"]) == ("7", '"default";r=0;t=7')
    lab.inject(Api("rate_limited"))
    assert "retry-after" not in (await api("GET", TUNNELS)).headers
    lab.inject(Api("rate_limited", code=0))
    told = await api("GET", TUNNELS)
    assert (told.status, told.document["errors"], told.document["success"]) == (429, [], False)


async def test_every_answer_says_how_many_calls_are_left(lab: Lab, api: Client) -> None:
    """Good and refused ones, fewer each time; with the other habit none does."""
    left = []
    for path in (TUNNELS, "/zones", f"{TUNNELS}/nonsense"):
        headers = (await api("GET", path)).headers
        assert headers["ratelimit-policy"] == '"default";q=1200;w=300'
        found = re.fullmatch(r'"default";r=(\d+);t=(\d+)', headers["ratelimit"])
        assert found
        assert 0 < int(found[2]) <= 300
        left.append(int(found[1]))
    assert left == sorted(left, reverse=True) or max(left) == 1199  # another window may begin in between
    lab.account.habits = lab.account.habits.changed({"ratelimit": "silent"})
    assert "ratelimit" not in (await api("GET", TUNNELS)).headers


@pytest.mark.parametrize("where", ["errors", "messages"])
async def test_a_call_that_succeeds_may_have_remarks(lab: Lab, api: Client, where: str) -> None:
    """They stand beside a result that is whole."""
    lab.account.habits = lab.account.habits.changed({"remarks": where})
    answer = (await api.http.get(lab.api + "/zones")).json()
    assert (answer["success"], len(answer["result"]), len(answer[where])) == (True, 1, 1)


async def test_page_of_a_proxy(lab: Lab, api: Client) -> None:
    """An outage answers HTML with its status."""
    lab.inject(Api("page"))
    answer = await api.http.get(lab.api + "/zones")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=UTF-8")


@pytest.mark.parametrize(("kind", "left"), [("lost", ["web"]), ("cut", [])])
async def test_no_answer(lab: Lab, api: Client, kind: Any, left: list[str]) -> None:
    """The connection ends without an answer: before anything is done, or after it."""
    lab.inject(Api(kind, times=1))
    with pytest.raises(httpx2.RemoteProtocolError):
        await api("POST", TUNNELS, NEW)
    assert names(lab) == left
    entry = next(iter(lab.account.journal))
    assert (entry.status, entry.changed) == (0, kind == "lost")


async def test_late_and_silent() -> None:
    """A delayed call is done at once and answered later; a silent one is neither done nor answered."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with Lab.start(LabConfig(sleep=sleep, forget_after=None)) as lab, calling(lab) as api:
        lab.inject(Api("delay", seconds=30, times=1))
        await api.tunnel("web")
        assert slept == [30]
        lab.inject(Api("silence", times=1))
        with pytest.raises(httpx2.RemoteProtocolError):
            await api("POST", TUNNELS, {"name": "other"})
        assert (names(lab), slept) == (["web"], [30, 300])


async def test_each_step_can_fail(lab: Lab, api: Client) -> None:
    """`skip` lets so many calls pass that are meant, and counts no others: any step of a set-up can be made to fail."""
    lab.inject(Api("forbidden", calls="writes", skip=2, times=1))
    for number in range(5):
        assert (await api("GET", TUNNELS)).status == 200
        assert (await api("POST", TUNNELS, {"name": f"web-{number}"})).status == (403 if number == 2 else 200)
    lab.inject(Api("error", path="*/dns_records", method="POST"))
    assert (await api("GET", RECORDS)).status == 200
    assert (await api("POST", RECORDS, {})).status == 500


async def test_missing_permission(lab: Lab, api: Client) -> None:
    """A permission that is missing concerns the calls that need it, whatever its name is written like."""
    lab.inject(Api("forbidden", permission="dns_write"))
    assert (await api("POST", RECORDS, {})).refused == (403, 10000)
    assert (await api("GET", RECORDS)).status == 200
    assert (await api("GET", TUNNELS)).status == 200
    lab.inject(Api("forbidden", permission="DNS"))
    assert (await api("GET", RECORDS)).refused == (403, 10000)
    with pytest.raises(ValueError, match="unknown permission 'DNS Edit'"):
        Api("forbidden", permission="DNS Edit")


async def test_access_not_enabled(lab: Lab, api: Client) -> None:
    """Access that is not switched on concerns Access alone."""
    lab.inject(Api("not_enabled"))
    assert (await api("GET", f"{ACCOUNT}/access/apps")).refused == (403, 9999)
    assert (await api("GET", "/zones")).status == 200


async def test_hidden_tunnels(lab: Lab, api: Client) -> None:
    """What a granular role may not see is in no list, and its name is taken all the same."""
    made = await api.tunnel("web")
    await api.tunnel("mine")
    lab.inject(ApiHides("web"))
    assert [tunnel["name"] for tunnel in (await api("GET", TUNNELS)).result] == ["mine"]
    assert (await api("GET", f"{TUNNELS}/{made['id']}")).refused == (404, 1003)
    assert (await api("POST", TUNNELS, NEW)).refused == (409, 1013)


async def test_in_words(lab: Lab, api: Client) -> None:
    """A script of faults can say all this."""
    await lab.play("api forbidden permission=DNS_Write times=2\napi-hides web\nslow-dns 5s\nzone-state paused")
    assert {type(fault).__name__ for fault in lab._faults} == {"Api", "ApiHides", "SlowDns", "ZoneState"}
    for words in ("api sorcery", "api forbidden calls=some", "api error status=99"):
        with pytest.raises(ValueError, match="Api"):
            await lab.play(words)


async def test_everything_is_noted(lab: Lab, api: Client, events: list[LabEvent]) -> None:
    """The journal counts reads and writes, with what was answered; an event tells each as it happens."""
    await api("GET", TUNNELS)
    await api.tunnel("web")
    await api("POST", TUNNELS, NEW)
    journal = lab.account.journal
    assert (journal.reads, journal.writes) == (1, 2)
    assert [(entry.method, entry.status, entry.code, entry.changed) for entry in journal] == [
        ("GET", 200, 0, False),
        ("POST", 200, 0, True),
        ("POST", 409, 1013, False),
    ]
    assert [event.status for event in events if isinstance(event, ApiAnswered)] == [200, 200, 409]
    journal.clear()
    assert (journal.reads, journal.writes, list(journal)) == (0, 0, [])


async def test_export_is_the_same_bytes(lab: Lab, api: Client) -> None:
    """What was made and taken away again leaves the state as it was, byte for byte."""
    await api.tunnel("kept")
    before = lab.account.exported()
    made = await api.tunnel("web")
    record = await api.lead("app.prx.localhost", made["id"])
    app = {"type": "self_hosted", "domain": "app.prx.localhost", "policies": []}
    app_id = (await api("POST", f"{ACCOUNT}/access/apps", app)).result["id"]
    token = (await api("POST", f"{ACCOUNT}/access/service_tokens", {"name": "ci"})).result
    assert token["client_secret"] not in lab.account.exported()
    assert made["token"] not in lab.account.exported()
    for path in (
        f"{RECORDS}/{record['id']}",
        f"{ACCOUNT}/access/apps/{app_id}",
        f"{ACCOUNT}/access/service_tokens/{token['id']}",
        f"{TUNNELS}/{made['id']}",
    ):
        assert lab.account.exported() != before
        await api("DELETE", path)
    assert lab.account.exported() == before


@pytest.mark.parametrize(
    ("habits", "call", "told"),
    [
        ({"forbidden": "403/9109"}, ("GET", "/accounts"), (403, 9109)),
        ({"bad_identifier": "400"}, ("GET", "/accounts/web/cfd_tunnel"), (400, 7003)),
        ({"not_enabled": "400"}, ("GET", f"{ACCOUNT}/access/apps"), (400, 9999)),
        ({"code_as_text": "yes"}, ("GET", "/nonsense"), (400, "7000")),
    ],
)
async def test_habits(lab: Lab, habits: dict[str, str], call: tuple[str, str], told: tuple[int, Any]) -> None:
    """Where it is not known what Cloudflare answers, either answer can be had."""
    lab.account.habits = lab.account.habits.changed(habits)
    lab.account.enabled = False
    async with calling(lab, lab.account.tokens.mint(frozenset(("Access: Apps and Policies Read",))).value) as client:
        answer = await client(*call)
    assert (answer.status, answer.document["errors"][0]["code"]) == told


@pytest.mark.parametrize("habit", get_args(get_type_hints(Habits)["unknown_token"]))
async def test_a_dead_token_is_refused_in_each_known_way(lab: Lab, habit: str) -> None:
    """A token that is unknown, revoked or expired gets the status and code of the habit; verifying it says 401 with 1000."""
    lab.account.habits = lab.account.habits.changed({"unknown_token": habit})
    expired, revoked = lab.account.tokens.mint(seconds=0.0).value, lab.account.tokens.mint().value
    lab.account.tokens.revoke(revoked)
    for value in (expired, revoked, "cfut_" + "a" * 40):
        async with calling(lab, value) as client:
            status, code = (await client("GET", TUNNELS)).refused
            assert f"{status}/{code}" == habit
            assert (await client("GET", "/user/tokens/verify")).refused == (401, 1000)


async def test_identity_providers_may_come_without_pages(lab: Lab, api: Client) -> None:
    """The documentation shows this list as a single page: then no answer has `result_info`, and every page is the same."""
    path = f"{ACCOUNT}/access/identity_providers"
    assert "result_info" in (await api("GET", path)).document
    lab.account.habits = lab.account.habits.changed({"providers": "single"})
    first, second = await api("GET", path), await api("GET", path, page="2")
    assert first.document == second.document
    assert "result_info" not in first.document


async def test_steering_from_another_process(lab: Lab, api: Client) -> None:
    """State, requests, tokens, habits and Zero Trust are there on the control endpoint, and mistakes are named."""
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as control:
        assert (await control.get("/api/state")).text == lab.account.exported()
        await api("GET", TUNNELS)
        assert (await control.get("/api/requests")).json()["reads"] == 1
        assert (await control.delete("/api/requests")).json() == {"reads": 0, "writes": 0, "requests": []}
        minted = (await control.post("/api/tokens", json={"permissions": ["Zone Read"]})).json()
        assert minted["permissions"] == ["Zone Read"]
        assert (await control.post("/api/zero-trust", json={"enabled": False})).json() == {"enabled": False}
        assert (await api("GET", f"{ACCOUNT}/access/apps")).refused == (403, 9999)
        habits = (await control.post("/api/habits", json={"cleaned": "null"})).json()
        assert habits["cleaned"] == {"value": "null", "of": ["object", "null"]}
        client = {"client_id": "mine", "redirect_uris": ["http://127.0.0.1:9/callback"]}
        assert (await control.post("/api/oauth-clients", json=client)).json()["client_id"] == "mine"
        assert (await control.post("/api/oauth-lifetime", json={"seconds": 5})).json() == {"seconds": 5}
        for path, body, named in (
            ("tokens", {"permissions": ["DNS Edit"]}, "unknown permission"),
            ("tokens", {"kind": "root"}, "expected user or account"),
            ("habits", {"nonsense": "x"}, "unknown habit"),
            ("habits", {"cleaned": "x"}, "expected one of object, null"),
            ("zero-trust", {"enabled": "no"}, "expected true or false"),
            ("oauth-clients", {}, "redirect_uris"),
            ("oauth-lifetime", {"seconds": 0}, "above 0"),
        ):
            answer = await control.post(f"/api/{path}", json=body)
            assert answer.status_code == 400
            assert named in answer.json()["error"]
