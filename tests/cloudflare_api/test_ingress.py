"""The rules of a tunnel: what prx writes, and what it leaves alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.cloudflare_api.ingress import same, serves_others, wanted_document, without, words
from prx.cloudflare_api.things import Application, Record, Zone, dns_name
from prx.cloudflare_api.wishes import Wish, path_expression
from prx.config.access_wishes import public_path

LAST = {"service": "http_status:404"}
OPEN = Wish("a.example.com", "http://127.0.0.1:8080")
GUARDED = Wish("a.example.com", "http://127.0.0.1:8080", allow=("me@x.org",), public_paths=("/hooks/*", "/health"))


def test_a_new_tunnel_serves_one_name_and_nothing_else() -> None:
    """One rule, and the last one that answers 404."""
    assert wanted_document({}, OPEN, "", "") == {"ingress": [{"hostname": OPEN.hostname, "service": OPEN.service}, LAST]}


def test_cloudflared_itself_refuses_what_comes_around_access() -> None:
    """The main rule carries the team and the tag; the open paths stand before it, without."""
    *open_rules, main, last = wanted_document({}, GUARDED, "lab", "ab12")["ingress"]
    assert main["originRequest"]["access"] == {"required": True, "teamName": "lab", "audTag": ["ab12"]}
    assert [rule["path"] for rule in open_rules] == ["^/hooks/[^/]*$", "^/health$"]
    assert all("originRequest" not in rule for rule in open_rules)
    assert last == LAST


CURRENT: list[dict[str, Any]] = [
    {},
    {"ingress": [LAST]},
    {"ingress": [{"hostname": "b.example.com", "service": "http://b"}, LAST], "warp-routing": {"enabled": True}},
    {"ingress": [{"hostname": "a.example.com", "service": "http://old", "originRequest": {"connectTimeout": 9}}, LAST]},
    {"ingress": [{"hostname": "a.example.com", "path": "/own", "service": "http://own"}, LAST]},
    {"ingress": [{"hostname": "*.example.com", "service": "http://wild"}, {"service": "http_status:503"}]},
    {"ingress": [{"hostname": "b.x", "service": "http://b"}, {"hostname": "a.example.com", "service": "q"}, LAST]},
]


@pytest.mark.parametrize("current", CURRENT)
@pytest.mark.parametrize("wish", [OPEN, GUARDED])
def test_a_second_look_finds_nothing_to_change(current: dict[str, Any], wish: Wish) -> None:
    """What prx has written is what it wants, whatever was there before."""
    once = wanted_document(current, wish, "lab", "ab12" if wish.is_protected else "")
    assert wanted_document(once, wish, "lab", "ab12" if wish.is_protected else "") == once


@pytest.mark.parametrize("current", CURRENT)
def test_what_others_wrote_stays(current: dict[str, Any]) -> None:
    """Rules of other names and paths, unknown keys, the last rule, and warp-routing are still there."""
    found = wanted_document(current, GUARDED, "lab", "ab12")
    for rule in current.get("ingress", ()):
        if rule.get("hostname") != "a.example.com" or rule.get("path"):
            assert rule in found["ingress"]
    if "warp-routing" in current:
        assert found["warp-routing"] == current["warp-routing"]
    main = next(rule for rule in found["ingress"] if rule.get("hostname") == "a.example.com" and not rule.get("path"))
    assert main["originRequest"].get("connectTimeout") == (9 if "connectTimeout" in str(current) else None)


def test_a_specific_name_stands_before_a_wildcard() -> None:
    """The first rule that fits answers, so ours comes before `*.example.com`."""
    found = wanted_document(CURRENT[5], OPEN, "", "")["ingress"]
    assert [rule.get("hostname") for rule in found] == ["a.example.com", "*.example.com", None]
    assert found[-1] == {"service": "http_status:503"}


def test_a_path_that_is_open_no_more_is_closed() -> None:
    """Paths that an earlier wish opened, and prx remembers, lose their rule."""
    once = wanted_document({}, GUARDED, "lab", "ab12")
    less = Wish(GUARDED.hostname, GUARDED.service, allow=GUARDED.allow, public_paths=("/health",))
    paths = [rule.get("path") for rule in wanted_document(once, less, "lab", "ab12", former_paths=["/hooks/*"])["ingress"]]
    assert paths == ["^/health$", None, None]


def test_taking_back_leaves_the_others() -> None:
    """Without our rules the document is what it was."""
    current = CURRENT[2]
    assert without(wanted_document(current, GUARDED, "lab", "x"), "a.example.com") == current
    assert serves_others(current, "a.example.com") == ["b.example.com"]


@given(
    st.lists(st.text("ab-._~*", min_size=1, max_size=5).filter(lambda s: s.count("*") < 2 and s not in {".", ".."}), max_size=3)
)
def test_an_open_path_opens_its_own_segments_alone(segments: list[str]) -> None:
    """A `*` stands for a part of one segment; nothing above, below or beside is let through."""
    pattern = "/" + "/".join(segments) if segments else "/x"
    expression = re.compile(path_expression(public_path(pattern)))
    concrete = pattern.replace("*", "q")
    assert expression.search(concrete)
    assert not expression.search(concrete + "/more")
    assert not expression.search("/before" + concrete)
    assert not expression.search(concrete.replace("/", "/secret/", 1))


@pytest.mark.parametrize("wish", [OPEN, GUARDED])
@pytest.mark.parametrize(
    "added",
    [
        {"originRequest": {}},
        {"originRequest": None},
        {"id": "1"},
        {"path": ""},
        {"originRequest": {"noTLSVerify": False, "httpHostHeader": "", "caPool": ""}, "id": "2"},
    ],
)
def test_what_cloudflare_adds_is_no_change(wish: Wish, added: dict[str, Any]) -> None:
    """Its answer may number the rules, and hold what is empty: a second look finds nothing to change all the same."""
    written = wanted_document({}, wish, "lab", "ab12" if wish.is_protected else "")
    answer = {"ingress": [{**added, **rule} for rule in written["ingress"]], "warp-routing": {}, "originRequest": {}}
    again = wanted_document(answer, wish, "lab", "ab12" if wish.is_protected else "", former_paths=wish.public_paths)
    assert same(again, answer)
    assert same(written, answer)


@pytest.mark.parametrize(
    "change",
    [
        {"service": "http://127.0.0.1:9"},
        {"originRequest": {"noTLSVerify": True}},
        {"hostname": "b.example.com"},
        {"path": "/x"},
        {"originRequest": {"access": {"required": False}}},
    ],
)
def test_what_somebody_changed_is_a_change(change: dict[str, Any]) -> None:
    """A rule that leads elsewhere, or guards less, is put right."""
    written = wanted_document({}, GUARDED, "lab", "ab12")
    *before, main, last = written["ingress"]
    assert not same(written, {"ingress": [*before, {**main, **change}, last]})


@pytest.mark.parametrize("origin", [None, {}, {"access": None}, {"access": {}}, {"access": {"required": False}}, "x"])
def test_the_words_of_a_rule_need_no_guard(origin: Any) -> None:
    """A rule of another hand may lack what prx writes of Access."""
    rule = {"hostname": "a.example.com", "service": "http://a", "originRequest": origin}
    assert words({"ingress": [rule, LAST]}, "a.example.com") == "a.example.com → http://a"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("bücher.example.com", "xn--bcher-kva.example.com"),
        ("Bücher.Example.COM", "xn--bcher-kva.example.com"),
        ("xn--bcher-kva.example.com", "xn--bcher-kva.example.com"),
        ("*.example.com", "*.example.com"),
        ("bücher.example.com/Straße", "xn--bcher-kva.example.com/Straße"),
        ("", ""),
        ("-", "-"),
    ],
)
def test_a_name_beyond_ascii_is_known_in_either_form(text: str, name: str) -> None:
    """Zones, records, applications and rules may come back with letters or as DNS has them: both are the same name."""
    assert dns_name(text) == name
    assert Zone.read({"name": text}).name == name
    assert Record.read({"name": text}).name == name
    assert Application.read({"domain": text}).hosts == ((dns_name(text.lower()),) if text else ())
    assert serves_others({"ingress": [{"hostname": text, "service": "http://a"}]}, name) == []
