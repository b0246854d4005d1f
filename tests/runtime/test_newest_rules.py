"""Rules that do not fit are explained by what Cloudflare holds, if it can be asked, and never at the cost of the check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.cloudflare_api.standin import Stand, running

from prx.cloudflare_api.edge_view import EdgeView, arrival
from prx.cloudflare_api.things import Configuration, Connector
from prx.config.schema import TunnelSettings
from prx.runtime.newest_rules import NewestRules
from prx.secrets.value import Secret

CONNECTOR = Connector("c", "2026.8.2", "linux_amd64", 3, 4, ("192.0.2.1",), ("fra01",))


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """Yield a lab with its API."""
    with running() as found:
        yield found


def settings(token: str) -> TunnelSettings:
    """Return a named tunnel with this token."""
    usual = TunnelSettings()
    return usual.changed(cloudflare=usual.cloudflare.changed(mode="named", token=Secret(token)))


@pytest.mark.parametrize(
    ("version", "runs", "said"),
    [
        (3, 3, "the newest rules (version 3) have arrived"),
        (4, 3, "have not arrived everywhere: cloudflared 2026.8.2 at 192.0.2.1 has version 3"),
        (4, None, "have arrived"),  # one that says nothing is unknown, not behind
        (0, 3, ""),
    ],
)
def test_what_has_arrived_is_said(version: int, runs: int | None, said: str) -> None:
    """A connector that says it runs older rules is named, with version and address."""
    connector = replace(CONNECTOR, config_version=runs)
    words = arrival(EdgeView((connector,), Configuration(version, {})))
    assert said in words
    assert bool(words) == bool(said)


async def test_without_a_token_nothing_is_asked() -> None:
    """The mismatch stays as it is, and so does none."""
    assert await NewestRules(settings("x"), {}).explain("it leads elsewhere") == "it leads elsewhere"
    assert await NewestRules(settings("x"), {"CLOUDFLARE_API_TOKEN": "t" * 40}).explain("") == ""


@pytest.mark.parametrize("api", ["http://127.0.0.1:1/client/v4", "ftp://nowhere"])
async def test_an_api_that_cannot_be_asked_costs_nothing(stand: Stand, api: str) -> None:
    """What only explains may be missing: the mismatch is reported without it."""
    token = stand.do(lambda: stand.lab.token("elsewhere"))
    environ = {"CLOUDFLARE_API_TOKEN": "t" * 40, "PRX_CLOUDFLARE_API": api}
    assert await NewestRules(settings(token), environ).explain("it leads elsewhere") == "it leads elsewhere"


async def test_the_account_is_asked_once_for_one_mismatch(stand: Stand) -> None:
    """The same mismatch is not asked about again with each check: Cloudflare counts calls."""
    token = stand.do(lambda: stand.lab.token("web.prx.localhost"))
    environ = {"CLOUDFLARE_API_TOKEN": stand.lab.api_token, "PRX_CLOUDFLARE_API": stand.lab.api}
    rules = NewestRules(settings(token), environ)
    before = int(stand.do(lambda: stand.account.journal.reads))
    for _ in range(3):
        assert (await rules.explain("it leads elsewhere")).startswith("it leads elsewhere")
    assert stand.do(lambda: stand.account.journal.reads) - before == 2
