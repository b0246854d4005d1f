"""The team's keys are fetched rarely, kept while their endpoint is down, and never trusted forever."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from prx.access.claims import AccessDeniedError
from prx.access.jwks import MAX_DOCUMENT_BYTES, KeySet, fetch_document, parse_keys
from prx.access.verify import AccessVerifier
from prx.core.errors import UsageError

if TYPE_CHECKING:
    from tests.access.conftest import Team

MINUTE, HOUR, DAY = 60, 3600, 86_400


def accepted(verifier: AccessVerifier, token: str) -> bool:
    """Return whether a token is let through."""
    try:
        verifier.verify(token)
    except AccessDeniedError:
        return False
    return True


def test_unknown_keys_cause_one_fetch_a_minute(team: Team) -> None:
    """However many tokens strangers make up, the endpoint is asked once a minute."""
    verifier, stranger = team.verifier(), team.sign("stranger")
    for minute in range(5):
        for _ in range(100):
            assert not accepted(verifier, stranger)
        assert team.fetches == minute + 1
        team.pass_time(MINUTE)


def test_known_keys_are_fetched_once_an_hour(team: Team) -> None:
    """Good visitors cost one fetch an hour."""
    verifier = team.verifier()
    for _ in range(3 * HOUR // 100):
        assert accepted(verifier, team.sign())
        team.pass_time(100)
    assert team.fetches == 3


def test_the_last_good_keys_serve_for_seven_days(team: Team) -> None:
    """While the endpoint is down the app stays reachable; after a week it closes; when it is back it opens."""
    verifier = team.verifier()
    assert accepted(verifier, team.sign())
    for team.status in (500, 302, 404):
        team.pass_time(2 * DAY)
        assert accepted(verifier, team.sign())
    team.status, team.document = 200, b"<html>not the keys</html>"
    team.pass_time(DAY)
    assert accepted(verifier, team.sign())
    team.pass_time(1)
    assert not accepted(verifier, team.sign())
    team.document = None
    team.pass_time(MINUTE)
    assert accepted(verifier, team.sign())


def test_without_any_keys_everybody_is_refused(team: Team) -> None:
    """An endpoint that never answered opens nothing, and is asked once a minute."""
    team.status = 503
    verifier = team.verifier()
    for _ in range(10):
        assert not accepted(verifier, team.sign())
    assert team.fetches == 1
    team.status = 200
    team.pass_time(MINUTE)
    assert accepted(verifier, team.sign())


def test_a_slow_fetch_keeps_only_those_waiting_whose_key_is_unknown(team: Team) -> None:
    """During a refresh known keys answer at once; those who wait share the one fetch."""
    verifier = team.verifier()
    assert accepted(verifier, team.sign())
    team.published = ["first", "second"]
    team.hold = threading.Event()
    team.pass_time(HOUR)
    results: list[bool] = []
    token = team.sign("second")
    waiting = [threading.Thread(target=lambda: results.append(accepted(verifier, token))) for _ in range(5)]
    for thread in waiting:
        thread.start()
    assert accepted(verifier, team.sign("first"))
    assert results == []
    team.hold.set()
    for thread in waiting:
        thread.join(30)
    assert results == [True] * 5
    assert team.fetches == 2


def keys_of(team: Team, **changes: Any) -> bytes:
    """Return the document with the first key changed."""
    document = json.loads(team.jwks())
    document["keys"][0] |= changes
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "oct"},
        {"use": "enc"},
        {"alg": "HS256"},
        {"kid": ""},
        {"kid": 7},
        {"n": "AQAB"},
        {"n": 1},
        {"e": None},
        {"n": "$"},
    ],
)
def test_an_odd_key_is_not_used(team: Team, changes: dict[str, Any]) -> None:
    """Other kinds of keys and broken ones are left out; the good ones beside them stay."""
    team.published = ["first", "second"]
    assert list(parse_keys(keys_of(team, **changes))) == ["second"]


def test_an_id_that_names_two_keys_names_none(team: Team) -> None:
    """Which of them is meant cannot be known."""
    team.published = ["first", "second"]
    with pytest.raises(ValueError, match="no usable key"):
        parse_keys(keys_of(team, kid="second"))


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [1, null]}', b"\xff", b"1"]
)
def test_what_is_no_key_document_is_refused(document: bytes) -> None:
    """Garbage is an error, so that the last good keys stay."""
    with pytest.raises(ValueError):  # noqa: PT011 - json's own words differ with the garbage
        parse_keys(document)


def test_too_many_keys_are_refused(team: Team) -> None:
    """A document may not cost more than reading 32 keys."""
    team.published = ["first"] * 33
    with pytest.raises(ValueError, match="at most 32"):
        parse_keys(team.jwks())


@pytest.mark.parametrize(
    "url", ["http://my-team.cloudflareaccess.com/certs", "ftp://x/", "", "file:///etc/keys", "http://10.0.0.1/"]
)
def test_keys_come_over_tls(url: str) -> None:
    """Plain http is for this machine only."""
    with pytest.raises(UsageError, match="expected https"):
        KeySet(url)


def test_keys_come_from_a_real_endpoint(team: Team, endpoint: str) -> None:
    """Over HTTP on loopback, through a rotation, with the real client."""
    verifier = AccessVerifier("my-team", "other-aud", certs_url=endpoint, now=lambda: team.now, clock=lambda: team.uptime)
    assert accepted(verifier, team.sign(aud="other-aud"))
    team.published = ["second"]
    team.pass_time(MINUTE)
    assert accepted(verifier, team.sign("second", aud="other-aud"))
    assert not accepted(verifier, team.sign("first", aud="other-aud"))
    assert team.fetches == 2


def test_the_lab_can_be_its_own_issuer(team: Team, endpoint: str) -> None:
    """With an issuer of its own, the keys come from below that issuer."""
    issuer = endpoint.removesuffix("/cdn-cgi/access/certs")
    verifier = AccessVerifier("", "lab", issuer=issuer, now=lambda: team.now)
    assert accepted(verifier, team.sign(aud="lab", iss=issuer))


def test_the_endpoint_must_answer_200_itself_and_shortly(team: Team, endpoint: str) -> None:
    """A redirect is not followed, an error page is no document, a flood is cut off."""
    team.status = 302
    with pytest.raises(ValueError, match="302"):
        fetch_document(endpoint)
    assert team.fetches == 1
    team.status, team.document = 200, b" " * (MAX_DOCUMENT_BYTES + 1)
    with pytest.raises(ValueError, match="more than"):
        fetch_document(endpoint)
