"""Sign in by browser, wholly against the lab: PKCE, one loopback port, a refresh token, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from tests.cloudflare_api.standin import Stand

from prx.app.cloudflare.keeping import Keeping
from prx.app.cloudflare.login import require_client, sign_in
from prx.cloudflare_api.calls import Api
from prx.cloudflare_api.client import Client
from prx.cloudflare_api.credentials import LOGIN_ENTRY
from prx.cloudflare_api.oauth import PORTS, Callback, Pkce, Tokens, exchange
from prx.core.errors import CredentialError, NotReadyError, PrxError, UsageError
from prx.runtime.host.clock import SystemClock
from prx.secrets.value import Secret

CLIENT = "prx-lab"


@pytest.fixture
def keeping(tmp_path: Path) -> Keeping:
    """Return a secrets manager that a password opens."""
    return Keeping({"PRX_DATA_DIR": str(tmp_path / "data"), "PRX_MASTER_KEY": "correct horse battery"}, None)


class Browser:
    """Opens a page as a person who agrees does, `choice` aside, in a thread; `pages` are the addresses."""

    def __init__(self, choice: str = "") -> None:
        self.choice = choice
        self.pages: list[str] = []
        self.threads: list[threading.Thread] = []

    def open(self, url: str) -> None:
        """Open a page."""
        self.pages.append(url)
        self.threads.append(threading.Thread(target=self._go, args=(url + self.choice,)))
        self.threads[-1].start()

    def _go(self, url: str) -> None:
        httpx2.get(url, follow_redirects=True, trust_env=False, timeout=20)


@pytest.fixture
def browse() -> Iterator[Callable[[str], Browser]]:
    """Yield browsers, and wait for them at the end."""
    made: list[Browser] = []

    def browser(choice: str = "") -> Browser:
        made.append(Browser(choice))
        return made[-1]

    yield browser
    for item in made:
        for thread in item.threads:
            thread.join(20)


def test_a_sign_in_serves_the_api(stand: Stand, keeping: Keeping, browse: Callable[..., Browser]) -> None:
    """The token from the browser is kept, works, and is renewed when it has ended."""
    dash = stand.account.oauth.base
    assert sign_in(CLIENT, dash, keeping, open_page=browse().open, patience=20) == []

    def renew(tokens: Tokens) -> Tokens:
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh.reveal(), "client_id": tokens.client_id}
        return exchange(dash, form, now=SystemClock().wall)

    first = keeping.signed_in(renew)
    assert first is not None
    with Client(first, base=stand.lab.api) as client:
        assert [zone.name for zone in Api(client).zones()] == ["prx.localhost"]
    held = Tokens.read(keeping.lookup(LOGIN_ENTRY))
    keeping.keep(LOGIN_ENTRY, Tokens(held.access, held.refresh, SystemClock().wall() - 1, held.scope, held.client_id).to_text())
    again = keeping.signed_in(renew)
    assert again is not None
    assert again != first


def test_the_question_is_one_of_pkce(stand: Stand, keeping: Keeping, browse: Callable[..., Browser]) -> None:
    """S256, a state, no secret in the address, and a registered port of this machine alone."""
    browser = browse()
    sign_in(CLIENT, stand.account.oauth.base, keeping, open_page=browser.open, patience=20)
    query = {name: values[0] for name, values in parse_qs(urlsplit(browser.pages[0]).query).items()}
    assert query["code_challenge_method"] == "S256"
    assert len(query["state"]) >= 32
    assert int(str(urlsplit(query["redirect_uri"]).port)) in PORTS
    assert urlsplit(query["redirect_uri"]).hostname == "127.0.0.1"


def test_who_declines_is_not_let_in(stand: Stand, keeping: Keeping, browse: Callable[..., Browser]) -> None:
    """A refusal ends it with Cloudflare's words; what was declined in part is reported."""
    dash = stand.account.oauth.base
    with pytest.raises(CredentialError, match="the user has declined"):
        sign_in(CLIENT, dash, keeping, open_page=browse("&decision=deny").open, patience=20)
    assert sign_in(CLIENT, dash, keeping, open_page=browse("&decline=dns.write").open, patience=20) == ["dns.write"]


def test_a_client_without_refresh_tokens_is_asked_once_more(
    stand: Stand, keeping: Keeping, browse: Callable[..., Browser]
) -> None:
    """Cloudflare refuses `offline_access` outright where the client has no such grant: prx asks again without it."""
    uris = [f"http://127.0.0.1:{port}/callback" for port in PORTS]
    document = {"client_name": "own", "redirect_uris": uris, "grant_types": ["authorization_code"]}
    document |= {"response_types": ["code"], "token_endpoint_auth_method": "none"}
    client = stand.do(lambda: stand.account.oauth_clients.register(document))
    browser = browse()
    sign_in(client.id, stand.account.oauth.base, keeping, open_page=browser.open, patience=20)
    assert ["offline_access" in page for page in browser.pages] == [True, False]
    ended = Tokens.read(keeping.lookup(LOGIN_ENTRY))
    keeping.keep(
        LOGIN_ENTRY, Tokens(ended.access, Secret(""), SystemClock().wall() - 1, ended.scope, ended.client_id).to_text()
    )
    with pytest.raises(CredentialError, match="has ended"):
        keeping.signed_in(lambda tokens: tokens)


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("/callback?code=x&state=wrong", "127.0.0.1:1", 400),
        ("/callback?code=x", "127.0.0.1:1", 400),
        ("/other?code=x&state={state}", "127.0.0.1:1", 404),
        ("/callback?code=x&state={state}", "evil.example:80", 404),
    ],
)
def test_another_page_cannot_answer(target: str, host: str, status: int) -> None:
    """Only the answer with our state, at our path and name, counts."""
    pkce = Pkce()
    with Callback(pkce.state, (0,)) as callback:
        assert callback.take(target.replace("{state}", pkce.state), host)[0] == status
        with pytest.raises(NotReadyError):
            callback.wait(0.01)
        callback.take(f"/callback?code=right&state={pkce.state}", "127.0.0.1:1")
        assert callback.wait(0.01) == "right"


def test_it_is_off_without_a_client() -> None:
    """There is no OAuth client of prx's own: the message says how to get one, and what works without."""
    with pytest.raises(UsageError) as caught:
        require_client("")
    assert "oauth_client_id" in caught.value.message
    assert "http://127.0.0.1:47831/callback" in caught.value.hint
    assert "permissionGroupKeys" in caught.value.hint


def test_taken_ports_are_said() -> None:
    """Where all registered ports are taken the sign-in does not wait for an answer that cannot come."""
    with Callback("s", (0,)) as held:
        port = int(str(urlsplit(held.redirect).port))
        with pytest.raises(PrxError, match=str(port)):
            Callback("s", (port,))
