"""What a redactor does to lines that went through one before, and to prx's own words."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.logs.redact import MARK, Redactor

WORDS = st.sampled_from(
    [
        *("Authorization: ", '{"Cookie":["', '"]}', "map[Cookie:[", "] Host:[a]]", "TUNNEL_TOKEN=", "MASTER_KEY: ", "--token "),
        *("?token=", "://u:", "@h/", "Bearer ", "eyJhbGciOiJI.eyJzdWIi.c2lnbmF0", "known-value", "abcdefghijklmnopqrstuvwxyz"),
        *(" ", '"', "'", ",", MARK),
    ]
)


@given(st.lists(WORDS, max_size=12).map("".join))
def test_redacting_again_changes_nothing(line: str) -> None:
    """A line may pass several redactors, the child's, the bus's and the log's, and looks as after the first."""
    redactor = Redactor(["known-value"])
    once = redactor.line(line)
    assert redactor.line(once) == once


@pytest.mark.parametrize(
    "line",
    [
        "environment variable CLOUDFLARE_TUNNEL_TOKEN: tunnel.cloudflare.token: there is no secret 'agent'",
        "env:CLOUDFLARE_TUNNEL_TOKEN: the environment variable is not set",
        "check CF_ACCESS_CLIENT_ID, CF_ACCESS_CLIENT_SECRET, their expiry, and the application's Service Auth policy",
    ],
)
def test_messages_about_secrets_stay(line: str) -> None:
    """A message that names a variable or a key says nothing secret, and must be read."""
    assert Redactor().line(line) == line


@pytest.mark.parametrize("line", ["CF_ACCESS_CLIENT_SECRET: §", "PRX_MASTER_KEY=§", '"TUNNEL_TOKEN": "§"', "TUNNEL_TOKEN : §"])
def test_assignments_are_hidden(line: str) -> None:
    """A variable with its value, as programs and YAML files write it, is hidden."""
    secret = "0123456789abcdef0123456789abcdef"
    assert secret not in Redactor().line(line.replace("§", secret))


@pytest.mark.parametrize(
    "line",
    [
        "the API token of the account is stored in the secrets file",
        "service token: expired, see Access controls",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit 70b5fadc0ffee70b5fadc0ffee70b5fadc0ffee1 of cfk_ and cfut_",
        "tunnelID=0a1b2c3d-0000-4000-8000-00000000beef",
    ],
)
def test_what_only_looks_like_a_secret_stays(line: str) -> None:
    """Digests, ids and words about secrets are no secrets."""
    assert Redactor().line(line) == line


@pytest.mark.parametrize("line", ["--allowed-mail you@example.com --url x", "--allowed-mail=*@example.com"])
def test_guests_are_hidden(line: str) -> None:
    """Who may visit a protected quick tunnel is private in a log."""
    found = Redactor().line(line)
    assert "example" not in found
    assert found.endswith("--url x") or "--url" not in line


SLOW = [
    "://a",
    "://a:b/",
    "?a=",
    "eyJ",
    "token",
    "x-token",
    "authorization: ",
    "a-",
    "hmac",
    "cfut_",
    "session%5D",
    "Bearer ",
    "API_KEY ",
]


@pytest.mark.parametrize("piece", SLOW)
@pytest.mark.parametrize("end", [" auth@", "!token"])
def test_a_line_costs_its_length_whatever_a_visitor_has_put_into_it(piece: str, end: str) -> None:
    """Eight times as long a line takes some eight times as long: no pattern looks again and again at the same text."""

    def cost(size: int) -> float:
        line = piece * (size // len(piece)) + end
        best = 1.0
        for _ in range(3):
            began = time.process_time()
            Redactor(["known-value"]).line(line)
            best = min(best, time.process_time() - began)
        return best

    assert cost(65_536) < 30 * max(cost(8_192), 0.0005)
