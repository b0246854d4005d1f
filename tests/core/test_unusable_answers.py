"""Answers that come and are of no use to visitors: each is the service's, and nothing is restarted for it."""

from dataclasses import replace

import pytest
from tests.core.test_diagnosis import AUTO, FINE, ORIGIN, PAST, POLICY, REACHED, at_public

from prx.core.causes import restart_helps
from prx.core.diagnosis import diagnose
from prx.core.evidence import Delivery, Evidence, Public
from prx.core.redirects import dead_end
from prx.core.status_codes import StatusSet
from prx.core.verdicts import Action, Verdict

PUBLIC = "https://app.example.com"
LAB = "http://brave-tree-1a2b.localhost:8080"

NOWHERE = {
    "a path to itself": (f"{PUBLIC}/", "/", "to the same URL again"),
    "the whole URL": (f"{PUBLIC}/", f"{PUBLIC}/", "to the same URL again"),
    "the name alone": (f"{PUBLIC}/", PUBLIC, "to the same URL again"),
    "another way to write it": (f"{PUBLIC}/a?b", "HTTPS://App.Example.com.:443/a?b#c", "to the same URL again"),
    "the lab's": (f"{LAB}/", f"{LAB}/", "to the same URL again"),
    "localhost": (f"{PUBLIC}/", "http://localhost:3000/login", "their own machine"),
    "loopback": (f"{PUBLIC}/", "//127.0.0.1:8080/", "their own machine"),
    "everywhere": (f"{PUBLIC}/", "http://0.0.0.0:8000/", "their own machine"),
    "the lab's neighbour": (f"{LAB}/", "http://localhost:3000/", "their own machine"),
    "a private network": (f"{PUBLIC}/", "http://192.168.1.5:8080/", "outside of your network"),
    "a private network, IPv6": (f"{PUBLIC}/", "http://[fd00::1]/", "outside of your network"),
    "a container": (f"{PUBLIC}/", "http://web:3000/", "outside of your network"),
    "a name of the house": (f"{PUBLIC}/", "https://nas.local/", "outside of your network"),
    "the port of the service": (f"{PUBLIC}/", f"{PUBLIC}:3000/login", "no https on port 3000"),
    "a port of the other scheme": (f"{PUBLIC}/", "https://app.example.com:8080/", "no https on port 8080"),
}
SOMEWHERE = {
    "no redirect": (f"{PUBLIC}/", ""),
    "another path": (f"{PUBLIC}/", "/login"),
    "another query": (f"{PUBLIC}/", "/?lang=en"),
    "another name": (f"{PUBLIC}/", "https://www.example.com/"),
    "another name, another port": (f"{PUBLIC}/", "https://www.example.com:3000/"),
    "a public address": (f"{PUBLIC}/", "http://1.1.1.1/"),
    "without TLS": (f"{PUBLIC}/", "http://app.example.com/"),
    "a port that the edge has": (f"{PUBLIC}/", f"{PUBLIC}:8443/"),
    "the lab, with TLS": (f"{LAB}/", LAB.replace("http:", "https:")),
    "the lab, another port": (f"{LAB}/", "https://brave-tree-1a2b.localhost/"),
    "no URL": (f"{PUBLIC}/", "http://[::1"),
    "no port": (f"{PUBLIC}/", "http://a:b/"),
    "no http": (f"{PUBLIC}/", "myapp://opened"),
}


@pytest.mark.parametrize(("asked", "location", "words"), NOWHERE.values(), ids=NOWHERE)
def test_redirects_that_no_visitor_can_follow(asked: str, location: str, words: str) -> None:
    """A circle, an address of the operator's own, and a port that the edge has not: each is named, with what helps."""
    found = dead_end(asked, location, sets_cookie=False)
    assert found is not None
    assert words in found.words
    assert found.hint


@pytest.mark.parametrize(("asked", "location"), SOMEWHERE.values(), ids=SOMEWHERE)
def test_redirects_that_may_lead_somewhere(asked: str, location: str) -> None:
    """What may work for a visitor is no fault: the public name itself is private in the lab, and is the public name."""
    assert dead_end(asked, location, sets_cookie=False) is None


def test_a_cookie_may_lead_out_of_a_circle() -> None:
    """A page that sets a cookie and sends the visitor back to itself answers otherwise once it comes back with it."""
    assert dead_end(f"{PUBLIC}/", "/", sets_cookie=True) is None
    assert dead_end(f"{PUBLIC}/", "http://localhost/", sets_cookie=True) is not None


def at(public: Public, origin: object = ORIGIN, delivery: Delivery = REACHED) -> Evidence:
    """Return the evidence of a tunnel with a public name."""
    return replace(at_public(public, origin, delivery), url=PUBLIC)  # type: ignore[arg-type]  # handed on


def test_a_circle_is_the_services() -> None:
    """The classic one behind a tunnel: it forces https, which it has, and visitors get no page."""
    circle = Public(301, location=f"{PUBLIC}/health")
    policy = replace(AUTO, path="/health")
    for origin in (ORIGIN, replace(ORIGIN, status=301)):
        found = diagnose(at(circle, origin), policy)
        assert (found.verdict, found.action) == (Verdict.ORIGIN_ERROR, Action.REPORT)
        assert found.reason == f"the service sends visitors from {PUBLIC}/health to the same URL again, without end"
        assert "X-Forwarded-Proto" in found.hint
    alike = replace(ORIGIN, status=301)
    wanted = replace(policy, expect=StatusSet.parse("2xx,301"))
    assert diagnose(at(circle, alike), wanted).verdict is Verdict.HEALTHY, "the operator has said that it is right"
    assert diagnose(at(circle, alike, PAST), policy).verdict is Verdict.HEALTHY, "it is not this service that sent it"


def test_a_body_that_breaks_off_is_the_services_if_it_does_so_here_too() -> None:
    """A page of which half comes is none; if only one side sees it, nothing is known of its cause."""
    cut = Public(200, broken_off=True)
    here = replace(ORIGIN, broken_off=True)
    found = diagnose(at(cut, here), AUTO)
    assert (found.verdict, found.action) == (Verdict.ORIGIN_ERROR, Action.REPORT)
    assert found.reason == "127.0.0.1:8080 answers 200 and breaks off: visitors get a part of it (the tunnel is fine)"
    assert not restart_helps(found.cause)
    assert diagnose(at(cut, here, Delivery()), AUTO).verdict is Verdict.ORIGIN_ERROR
    for evidence in (at(cut), at(cut, None), at(Public(200), here), at(cut, here, PAST)):
        assert diagnose(evidence, AUTO).verdict is Verdict.HEALTHY


def test_a_connector_that_could_not_pass_half_a_body_on_is_not_to_blame() -> None:
    """Over HTTP/2 visitors get 502 in its place: that it breaks off here, too, stands in the reason."""
    found = diagnose(at(Public(502), replace(ORIGIN, broken_off=True), Delivery(reached=True, failed=True)), AUTO)
    assert (found.verdict, found.action) == (Verdict.ORIGIN_DOWN, Action.REPORT)
    assert "visitors get 502, and answers 200 here and breaks off" in found.reason


TOO_LARGE = replace(
    ORIGIN, status=None, error="127.0.0.1:8080 answers HTTP that cannot be read: its headers have more than 128 KiB"
)


def test_an_answer_that_the_edge_refuses_is_the_services_if_it_is_wrong_here_too() -> None:
    """520 for headers of more than Cloudflare takes: the service is named; a 520 without a reason here is not put upon it."""
    found = diagnose(at(Public(520), TOO_LARGE, Delivery(reached=True, said=frozenset({200}), answered=True)), AUTO)
    assert (found.verdict, found.action) == (Verdict.ORIGIN_DOWN, Action.REPORT)
    assert found.reason == f"{TOO_LARGE.error}; visitors get 520 (the tunnel is fine)"
    answered = Delivery(reached=True, said=frozenset({200}), answered=True)
    assert diagnose(at(Public(520), ORIGIN, answered), AUTO).verdict is Verdict.UNREACHABLE
    assert diagnose(at(Public(520), TOO_LARGE, PAST), AUTO).verdict is Verdict.UNREACHABLE


def test_the_edge_that_waits_in_vain_says_that_the_service_is_slow() -> None:
    """524 is no answer of the service: it came to no answer, whatever it says here."""
    slow = Delivery(reached=True)
    for origin, words in (
        (ORIGIN, "does not answer visitors of https://app.example.com for as long as Cloudflare waits (524), and answers 200"),
        (replace(ORIGIN, status=None, error="no answer within 10 s", silent=True), "no answer within 10 s; visitors get 524"),
    ):
        found = diagnose(at(Public(524), origin, slow), POLICY)
        assert (found.verdict, found.action) == (Verdict.ORIGIN_DOWN, Action.REPORT)
        assert words in found.reason
        assert "health_check_path" in found.hint
    own = diagnose(at(Public(524), replace(ORIGIN, status=524), Delivery(reached=True, said=frozenset({524}))), POLICY)
    assert own.verdict is Verdict.ORIGIN_ERROR
    assert diagnose(replace(FINE, public=Public(524)), POLICY).verdict is Verdict.UNREACHABLE


def test_a_login_of_access_that_the_service_sends_is_the_services() -> None:
    """Access puts the visitor's own URL and a signature into its login: one that is the same here comes from the service."""
    login = "https://team.cloudflareaccess.com/cdn-cgi/access/login/app.example.com?kid=1"
    there = Public(302, access=True, location=login)
    own = replace(ORIGIN, status=302, location=login)
    assert diagnose(at(there, own), AUTO).verdict is Verdict.HEALTHY
    assert diagnose(at(there, own), POLICY).verdict is Verdict.ORIGIN_ERROR
    for origin in (ORIGIN, None, replace(ORIGIN, status=302, location="/login")):
        assert diagnose(at(there, origin), AUTO).verdict is Verdict.PROTECTED


def test_a_circle_of_several_urls_is_the_services() -> None:
    """It was proven at the service on this machine: no visitor gets a page, though the service answers here as in public."""
    urls = (f"{PUBLIC}/", f"{PUBLIC}/app", f"{PUBLIC}/app/", f"{PUBLIC}/app")
    circle = Public(302, location="/app")
    alike = replace(ORIGIN, status=302, location="/app", circle=urls)
    for policy in (AUTO, POLICY):
        found = diagnose(at(circle, alike), policy)
        assert (found.verdict, found.action) == (Verdict.ORIGIN_ERROR, Action.REPORT)
        assert found.reason == f"the service sends visitors in a circle, without end: {' → '.join(urls)}"
        assert found.hint
    assert diagnose(at(circle, replace(alike, circle=())), AUTO).verdict is Verdict.HEALTHY
    assert diagnose(at(circle, alike, PAST), AUTO).verdict is Verdict.HEALTHY, "it is not this service that sent it"
