"""The plan: pure, in the one order that leaves nothing open, and silent about nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from prx.cloudflare_api.journal import Memory, TokenMemory
from prx.cloudflare_api.plan import FileState, Plan, plan_setup
from prx.cloudflare_api.removal import plan_removal
from prx.cloudflare_api.things import Application, Configuration, Provider, Record, ServiceToken, Team, Tunnel, Zone
from prx.cloudflare_api.wishes import TokenWish, Wish, app_of, record_of
from prx.cloudflare_api.world import Local, World

NAME = "agent.example.com"
ID = "70dfd187-5aa8-4807-8600-7b38c06b45fa"
ZONE = Zone("z" * 32, "example.com", "a" * 32)
TUNNEL = Tunnel(ID, f"prx-{NAME}-0a1b")
WISH = Wish(NAME, "http://127.0.0.1:8080", allow=("you@example.com",), service_tokens=(TokenWish("ci"),))
OPEN = Wish(NAME, "http://127.0.0.1:8080")
FILE = FileState("prx.toml", True)
NEW_FILE = FileState("prx.toml", False, ("tunnel.cloudflare.mode = named",))
PIN = Provider("p", "onetimepin", "One-time PIN")
EMPTY = World(ZONE, (), None, None, (), Team("lab"), (), (), (PIN,), Local("prx-x"))
MEMORY = Memory(NAME, "api")


def record(content: str, kind: str = "A", comment: str = "", name: str = NAME) -> Record:
    """Return a DNS record."""
    return Record.read({"id": content, "type": kind, "name": name, "content": content, "proxied": True, "comment": comment})


def app(name: str = f"prx: {NAME}", wish: Wish = WISH, **changes: Any) -> Application:
    """Return an application as the API shows it."""
    return Application.read({**app_of(wish, {"ci": "t"}), "id": "app", "aud": "ab12", "name": name, **changes})


def kinds(plan: Plan) -> list[tuple[str, str]]:
    """Return action and kind of each step."""
    return [(step.action, step.what) for step in plan.steps]


def test_the_record_is_the_last_thing_that_is_made() -> None:
    """Tunnel, service token, application, rules, secret, file, only then DNS: nothing is public before it is protected."""
    assert kinds(plan_setup(EMPTY, WISH, MEMORY, NEW_FILE)) == [
        ("create", "tunnel"),
        ("create", "service_token"),
        ("create", "application"),
        ("create", "ingress"),
        ("create", "secret"),
        ("create", "file"),
        ("create", "dns"),
    ]


def test_what_guards_goes_last() -> None:
    """Where the protection is wished away, the application is deleted after everything else, and strangers are named."""
    world = replace(EMPTY, tunnels=(TUNNEL,), tunnel=TUNNEL, configuration=Configuration(1, {}), apps=(app(),))
    plan = plan_setup(world, OPEN, MEMORY, FILE)
    assert kinds(plan)[-1] == ("delete", "application")  # and then the tokens that it names, if there are any
    assert plan.open
    assert any("strangers" in note for note in plan.notes)


def complete() -> World:
    """Return the world after a set-up."""
    from prx.cloudflare_api.ingress import wanted_document

    return replace(
        EMPTY,
        tunnels=(TUNNEL,),
        tunnel=TUNNEL,
        configuration=Configuration(3, wanted_document({}, WISH, "lab", "ab12")),
        records=(Record.read({**record_of(NAME, ID), "id": "r"}),),
        apps=(app(),),
        tokens=(ServiceToken("t", f"prx: {NAME}: ci", "x.access"),),
        local=Local("prx-x", ID),
    )


def test_nothing_to_change_where_all_is_there() -> None:
    """Every step is kept, and each says what exists."""
    plan = plan_setup(complete(), WISH, MEMORY, FILE)
    assert plan.changes == ()
    assert {step.what for step in plan.steps} == {"tunnel", "service_token", "application", "ingress", "secret", "file", "dns"}
    assert all(step.now for step in plan.steps)


CHANGED: list[tuple[dict[str, Any], set[str]]] = [
    ({"tunnels": (), "tunnel": None, "configuration": None, "local": Local("prx-x")}, {"tunnel", "ingress", "secret", "dns"}),
    ({"configuration": Configuration(3, {})}, {"ingress"}),
    ({"records": ()}, {"dns"}),
    ({"apps": ()}, {"application", "ingress"}),
    ({"apps": (app(policies=[]),)}, {"application"}),
    ({"tokens": ()}, {"service_token", "application"}),
    ({"local": Local("prx-x", "another")}, {"secret"}),
    ({"local": Local("prx-x")}, {"secret"}),
]


@pytest.mark.parametrize(("changes", "expected"), CHANGED)
def test_what_is_missing_is_made_again(changes: dict[str, Any], expected: set[str]) -> None:
    """Only what has gone or changed has a step that does something."""
    plan = plan_setup(replace(complete(), **changes), WISH, MEMORY, FILE)
    assert {step.what for step in plan.changes} == expected
    assert plan.refused == ()


@pytest.mark.parametrize(
    "world",
    [
        replace(EMPTY, records=(record("192.0.2.1"),)),
        replace(EMPTY, records=(record("192.0.2.1"), record("2001:db8::1", "AAAA"))),
        replace(EMPTY, records=(record("other.example.net", "CNAME"),)),
        replace(EMPTY, records=(record("11111111-5aa8-4807-8600-7b38c06b45fa.cfargotunnel.com", "CNAME"),)),
    ],
)
def test_a_foreign_record_is_shown_and_refused(world: World) -> None:
    """Another person's record stops the plan, which says what it is; with the flag it is changed, and can be given back."""
    plan = plan_setup(world, WISH, MEMORY, FILE)
    assert len(plan.refused) == 1
    assert all(item.content in plan.refused[0] for item in world.records)
    assert "dns" not in {step.what for step in plan.steps}
    allowed = plan_setup(world, WISH, MEMORY, FILE, overwrite_dns=True)
    assert allowed.refused == ()
    assert [step.action for step in allowed.steps if step.what == "dns"] == ["change"]


def test_our_record_of_a_tunnel_that_is_gone_is_no_obstacle() -> None:
    """A record with prx's mark is changed without a flag."""
    old = "11111111-5aa8-4807-8600-7b38c06b45fa"
    world = replace(EMPTY, records=(record(f"{old}.cfargotunnel.com", "CNAME", f"prx {old}"),))
    assert plan_setup(world, WISH, MEMORY, FILE).refused == ()


@pytest.mark.parametrize("host", [NAME, f"{NAME}/admin"])
def test_a_foreign_application_is_refused(host: str) -> None:
    """Another person's application on the name is shown and left; without a wish for protection it is only mentioned."""
    foreign = Application.read({"id": "f", "name": "theirs", "aud": "f", "domain": host, "type": "self_hosted"})
    world = replace(EMPTY, apps=(foreign,))
    plan = plan_setup(world, WISH, MEMORY, FILE)
    assert "theirs" in plan.refused[0]
    open_plan = plan_setup(world, OPEN, MEMORY, FILE)
    assert open_plan.refused == ()
    assert not open_plan.open


def test_the_fingerprint_is_that_of_the_world() -> None:
    """It changes with every fact that the plan rests on, and not with what moves by itself."""
    first = complete().fingerprint
    moved = [
        replace(complete(), records=()),
        replace(complete(), apps=(app(session_duration="1h"),)),
        replace(complete(), configuration=Configuration(4, {})),
        replace(complete(), providers=()),
        replace(complete(), tunnel=replace(TUNNEL, id="x")),
    ]
    assert first not in {world.fingerprint for world in moved}
    assert replace(complete(), tunnel=replace(TUNNEL, status="down")).fingerprint == first


@pytest.mark.parametrize(
    ("providers", "created"),
    [
        ((), True),
        ((Provider("c", "cloudflare", "Cloudflare"),), True),
        ((PIN,), False),
        ((Provider("g", "github", "G"),), False),
    ],
)
def test_guests_find_a_way_to_log_in(providers: tuple[Provider, ...], created: bool) -> None:
    """A new team knows Cloudflare's own log-in alone: the one-time PIN is part of the plan then."""
    plan = plan_setup(replace(EMPTY, providers=providers), WISH, MEMORY, FILE)
    assert (("create", "pin") in kinds(plan)) is created


@pytest.mark.parametrize(
    ("told", "kept", "entries", "action"),
    [
        (None, "", (), "keep"),
        (TokenMemory("t", delivered=True), "", (), "keep"),
        (TokenMemory("t", delivered=False), "", (), "change"),
        (TokenMemory("t", delivered=True, kept_as="e"), "e", ("e", "e-id"), "keep"),
        (TokenMemory("t", delivered=False, kept_as="e"), "e", ("e", "e-id"), "change"),
        (TokenMemory("t", delivered=True, kept_as="former"), "e", ("e", "e-id"), "change"),
        (TokenMemory("t", delivered=True, kept_as="e"), "e", ("e",), "change"),
        (TokenMemory("t", delivered=True, kept_as="e"), "e", ("e-id",), "change"),
        (TokenMemory("t", delivered=True, kept_as="e"), "e", (), "change"),
        (TokenMemory("t", delivered=True), "e", (), "change"),
        (None, "e", ("e", "e-id"), "keep"),
        (None, "e", (), "change"),
    ],
)
def test_a_secret_that_never_arrived_is_made_again(
    told: TokenMemory | None, kept: str, entries: tuple[str, ...], action: str
) -> None:
    """A service token gets a new secret if that was lost on the way, or is to be kept and is not; an earlier one's is none."""
    wish = replace(WISH, service_tokens=(TokenWish("ci", kept),))
    memory = Memory(NAME, "api", service_tokens={} if told is None else {"ci": told})
    world = replace(complete(), local=Local("prx-x", ID, frozenset(entries)))
    steps = plan_setup(world, wish, memory, FILE).steps
    assert [step.action for step in steps if step.what == "service_token"] == [action]


@pytest.mark.parametrize(
    ("zone", "word"),
    [
        (replace(ZONE, status="pending", name_servers=("ada.ns", "bob.ns")), "ada.ns and bob.ns"),
        (replace(ZONE, paused=True), "paused"),
        (replace(ZONE, kind="partial"), "partial"),
    ],
)
def test_a_zone_that_does_not_serve_is_told(zone: Zone, word: str) -> None:
    """The plan says why the name would not be reachable."""
    plan = plan_setup(replace(EMPTY, zone=zone), WISH, MEMORY, FILE)
    assert any(word in note for note in plan.notes)
    assert any(word in note for note in plan.obstacles)
    assert plan_setup(EMPTY, WISH, MEMORY, FILE).obstacles == ()


def test_a_delegation_above_the_name_is_told() -> None:
    """Known by its NS records, with their servers, or by the mark on the record alone; an answer that marks none is no news."""
    servers = [Record.read({"id": n, "type": "NS", "name": "eu.example.com", "content": f"ns{n}.example.net"}) for n in "12"]
    (line,) = plan_setup(replace(EMPTY, delegations=tuple(servers)), WISH, MEMORY, FILE).obstacles
    assert "eu.example.com is delegated to ns1.example.net, ns2.example.net" in line
    for mark, told in (("ns-id", 1), (["ns-id"], 1), ({"id": "ns-id"}, 1), ([], 0), (None, 0)):
        marked = Record.read(
            {"id": "r", "type": "CNAME", "name": NAME, "content": "x.example.net", "meta": {"shadowed_by": mark}}
        )
        assert len(plan_setup(replace(EMPTY, records=(marked,)), WISH, MEMORY, FILE).obstacles) == told


def test_the_removal_begins_with_the_record_and_ends_with_the_tunnel() -> None:
    """In between goes what guarded the name; then this machine's own things."""
    plan = plan_removal(complete(), NAME, MEMORY, FileState("prx.toml", True, ("without the token",)))
    assert kinds(plan) == [
        ("delete", "dns"),
        ("delete", "application"),
        ("delete", "service_token"),
        ("delete", "tunnel"),
        ("delete", "secret"),
        ("change", "file"),
    ]


def test_a_removal_leaves_what_is_not_ours() -> None:
    """A record without the mark, an application of another name, and a tunnel that serves others stay."""
    other = {"ingress": [{"hostname": "b.example.com", "service": "http://b"}, {"service": "http_status:404"}]}
    foreign = Application.read({"id": "f", "name": "theirs", "aud": "f", "domain": NAME})
    world = replace(
        complete(),
        records=(record(f"{ID}.cfargotunnel.com", "CNAME"),),
        apps=(foreign,),
        tokens=(),
        configuration=Configuration(1, other),
    )
    plan = plan_removal(world, NAME, MEMORY, FILE)
    assert kinds(plan) == [("change", "ingress")]
    assert len(plan.notes) == 3
    assert plan.notes[0] == f"secret:prx-x holds the token of a tunnel that lives on (id {ID}): it stays"


ANOTHER = "22222222-5aa8-4807-8600-7b38c06b45fa"


@pytest.mark.parametrize(
    ("tunnels", "remembered", "held", "goes"),
    [
        ((TUNNEL,), ID, ID, True),
        ((TUNNEL,), "", ID, True),
        ((), ID, ID, True),
        ((TUNNEL,), ID, ANOTHER, False),
        ((), ID, ANOTHER, False),
        ((), "", ANOTHER, False),
    ],
    ids=["ours", "without a journal", "gone already", "another's", "another's, ours is gone", "another's, nothing is known"],
)
def test_a_removal_takes_the_token_of_its_tunnel_alone(
    tunnels: tuple[Tunnel, ...], remembered: str, held: str, goes: bool
) -> None:
    """An entry that another tunnel's token has come into, as after a change of the host name, stays, and the plan says so."""
    world = replace(EMPTY, tunnels=tunnels, tunnel=next(iter(tunnels), None), local=Local("prx-x", held))
    plan = plan_removal(world, NAME, Memory(NAME, "api", tunnel_id=remembered), FILE)
    assert (("delete", "secret") in kinds(plan)) is goes
    assert any(held in note for note in plan.notes) is not goes


@pytest.mark.parametrize(
    ("held", "entries", "action", "refused"),
    [
        ("", (), "create", False),
        ("", ("another",), "create", False),
        ("", ("prx-x",), "", True),
        (ANOTHER, ("prx-x",), "change", False),
        (ID, ("prx-x",), "keep", False),
    ],
)
def test_another_secret_is_not_written_over(held: str, entries: tuple[str, ...], action: str, refused: bool) -> None:
    """What is no tunnel's token is another secret: it is named, and stays; that of another tunnel is shown."""
    plan = plan_setup(replace(complete(), local=Local("prx-x", held, frozenset(entries))), WISH, MEMORY, FILE)
    assert [step.action for step in plan.steps if step.what == "secret"] == ([action] if action else [])
    assert any("prx secret delete prx-x" in text for text in plan.refused) is refused


@pytest.mark.parametrize(("tunnels", "tunnel_id"), [((TUNNEL,), ID), ((), ID), ((), ""), ((replace(TUNNEL, id="x"),), "")])
def test_a_removal_knows_a_record_by_its_mark(tunnels: tuple[Tunnel, ...], tunnel_id: str) -> None:
    """A record that says whose it is and leads there goes, also if the tunnel has gone and the journal is another machine's."""
    ours = Record.read({**record_of(NAME, ID), "id": "r"})
    world = replace(EMPTY, tunnels=tunnels, tunnel=next(iter(tunnels), None), records=(ours,))
    assert ("delete", "dns") in kinds(plan_removal(world, NAME, Memory(NAME, "api", tunnel_id=tunnel_id), FILE))


@pytest.mark.parametrize("comment", ["", "prx", "prx demo server", f"prx {ANOTHER}"])
def test_a_removal_leaves_a_record_with_no_mark_or_another(comment: str) -> None:
    """A remark of another hand that begins like prx's is no mark."""
    world = replace(complete(), records=(record(f"{ID}.cfargotunnel.com", "CNAME", comment),))
    assert "dns" not in {step.what for step in plan_removal(world, NAME, Memory(NAME, "api", tunnel_id=ID), FILE).steps}


@pytest.mark.parametrize(
    ("ending", "told", "kept", "entries", "then"),
    [
        ((), TokenMemory("t", delivered=True), "", (), "stays"),
        (("t",), TokenMemory("t", delivered=True), "", (), "good for another year"),
        (("t",), None, "", (), "good for another year"),
        (("t",), TokenMemory("t", delivered=True, kept_as="e"), "e", ("e", "e-id"), "good for another year"),
        (("t",), TokenMemory("t", delivered=False), "", (), "a new secret"),
        (("other",), TokenMemory("t", delivered=True), "", (), "stays"),
    ],
)
def test_a_service_token_does_not_end_unnoticed(
    ending: tuple[str, ...], told: TokenMemory | None, kept: str, entries: tuple[str, ...], then: str
) -> None:
    """One that has ended, or soon does, is not said to stay: it goes on for a year, with its secret unless that is lost."""
    wish = replace(WISH, service_tokens=(TokenWish("ci", kept),))
    tokens = (ServiceToken("t", f"prx: {NAME}: ci", "x.access", "2026-12-01T00:00:00Z"),)
    local = Local("prx-x", ID, frozenset(entries))
    world = replace(complete(), tokens=tokens, ending=frozenset(ending), local=local)
    memory = Memory(NAME, "api", service_tokens={} if told is None else {"ci": told})
    (step,) = [step for step in plan_setup(world, wish, memory, FILE).steps if step.what == "service_token"]
    assert step.then.startswith(then)
    assert ("2026-12-01" in step.now) == (then == "good for another year")


@pytest.mark.parametrize(
    ("ends", "moment", "before"),
    [
        ("2026-12-01T00:00:00Z", 1_796_083_199.0, False),
        ("2026-12-01T00:00:00Z", 1_796_083_201.0, True),
        ("2026-12-01T01:00:00+01:00", 1_796_083_201.0, True),
        ("", 4e9, False),
        ("soon", 4e9, False),
    ],
)
def test_an_end_that_is_not_known_is_none(ends: str, moment: float, before: bool) -> None:
    """A service token without an end has none, and one that cannot be read is not guessed."""
    assert ServiceToken("t", "n", "c", ends).ends_before(moment) is before


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    """`--expect` is given in another process than `--plan`, whose sets come in another order."""
    import subprocess
    import sys
    from pathlib import Path

    code = (
        "from dataclasses import replace; from tests.cloudflare_api.test_plan import complete, Local\n"
        "names = frozenset(f'entry-{number}' for number in range(9))\n"
        "print(replace(complete(), local=Local('prx-x', '', names), ending=names).fingerprint)"
    )
    environs = [{"PYTHONHASHSEED": seed, "PATH": ""} for seed in ("1", "2", "3", "4")]
    root = Path(__file__).parents[2]
    said = {subprocess.check_output([sys.executable, "-c", code], env=env, cwd=root) for env in environs}
    assert len(said) == 1


@pytest.mark.parametrize(
    ("memory", "goes"),
    [
        (Memory(NAME, "api", pin=True, pin_id="p"), True),
        (Memory(NAME, "api", pin=True, pin_id="of prx"), False),
        (Memory(NAME, "api", pin=True), True),
        (MEMORY, False),
    ],
    ids=["ours", "another in its place", "made, but its answer was lost", "was there before"],
)
def test_a_removal_takes_the_one_time_pin_that_prx_made(memory: Memory, goes: bool) -> None:
    """A one-time PIN that another hand has made is not prx's to delete, even if prx once made one."""
    assert (("delete", "pin") in kinds(plan_removal(complete(), NAME, memory, FILE))) is goes


@pytest.mark.parametrize("there", [(), ("192.0.2.1",), ("ours",), ("theirs",)])
def test_what_was_overwritten_is_given_back(there: tuple[str, ...]) -> None:
    """Our record becomes the old ones again, also if a removal was cut short; what others put there since stays."""
    former = [dict(record(address).document) for address in ("192.0.2.1", "192.0.2.2")]
    memory = Memory(NAME, "api", tunnel_id=ID, former_records=former)
    ours = Record.read({**record_of(NAME, ID), "id": "r"})
    records = tuple(ours if item == "ours" else record(item if item[0] == "1" else "198.51.100.9") for item in there)
    dns = [step for step in plan_removal(replace(complete(), records=records), NAME, memory, FILE).steps if step.what == "dns"]
    if there == ("theirs",):
        assert dns == []
    else:
        assert ("192.0.2.1" in dns[0].then, "192.0.2.2" in dns[0].then) == (there != ("192.0.2.1",), True)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ((), "It leads nowhere once the tunnel is gone"),
        (("b.example.com",), "The tunnel, which serves other names, has no rule"),
    ],
)
def test_where_a_record_leads_that_cannot_be_looked_for(others: tuple[str, ...], words: str) -> None:
    """A tunnel that serves other names stays, so the record that may be there does not lead nowhere."""
    rules = [{"hostname": name, "service": "http://127.0.0.1:1"} for name in (NAME, *others)]
    document = {"ingress": [*rules, {"service": "http_status:404"}]}
    world = replace(EMPTY, tunnels=(TUNNEL,), tunnel=TUNNEL, configuration=Configuration(1, document), no_zone="it has left")
    assert any(words in text for text in plan_removal(world, NAME, Memory(NAME, "api", tunnel_id=ID), FILE).left)
