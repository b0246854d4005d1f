"""A lab of another process: where its edge is, the tokens of its tunnels, and whether it is still the one that was joined.

Its tokens may be rotated, and it may end or be started again, while its tunnels run here. It is asked at a reload, and every
few seconds while a tunnel waits or has failed; each time in a thread, since it may not answer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prx.app.lab_client import NoLabError, ask
from prx.backends.base import EdgeSite
from prx.core.errors import PrxError, with_hint
from prx.core.judge_connector import GONE_LAB_HINT
from prx.runtime.host.clock import Clock
from prx.secrets.blocking import start_in_thread

CERTS_PATH = "/cdn-cgi/access/certs"
EVERY = 5.0  # seconds between two questions while a tunnel waits or has failed


class JoinedLab:
    """A lab, reached by its control URL."""

    def __init__(self, control: str) -> None:
        self.control = control
        self._tokens: dict[str, str] = {}
        self._renewed: set[str] = set()
        self._site: EdgeSite | None = None
        self._asking: Future[bool] | None = None
        self._next = float("-inf")
        self._said = ""

    def token(self, hostname: str) -> str:
        """Return the token of a named tunnel, creating it if it does not exist; PrxError if the lab is gone."""
        if hostname not in self._tokens:
            self._tokens[hostname] = self._ask_token(hostname)
        return self._tokens[hostname]

    def site(self) -> EdgeSite:
        """Return the site that the lab is; PrxError if none answers."""
        self._site = _site(ask(self.control, "GET", "/state"))
        return self._site

    def renew(self) -> bool:
        """Ask for every token again, and return whether one is another by now.

        PrxError if no lab answers any more, or another one: its edge and its CA are not those that the connectors know.
        """
        try:
            return self._renew()
        except NoLabError as error:
            raise PrxError(f"the lab is gone: {error.message}", hint=GONE_LAB_HINT) from error

    def _renew(self) -> bool:
        if self._site is not None and _site(ask(self.control, "GET", "/state")) != self._site:
            raise PrxError(
                f"the lab at {self.control} was started again, and its edge is another one",
                hint="stop this prx and start it again: it joins the new lab",
            )
        before = dict(self._tokens)
        self._tokens.update({hostname: self._ask_token(hostname) for hostname in before})
        renewed = {hostname for hostname in before if self._tokens[hostname] != before[hostname]}
        self._renewed |= renewed
        return bool(renewed)

    def take_renewed(self) -> set[str]:
        """Return the names whose token has become another one since this was asked last."""
        renewed, self._renewed = self._renewed, set()
        return renewed

    def check(self, clock: Clock, log: Callable[[str, str], None]) -> bool:
        """Take in the last answer, and ask again if it is time; return whether a token is another one by that answer.

        What is wrong with the lab is said to `log`, once.
        """
        renewed = False
        if self._asking is not None and self._asking.done():
            asked, self._asking = self._asking, None
            renewed = self._take(asked, log)
        if self._asking is None and clock.monotonic() >= self._next:
            self._next = clock.monotonic() + EVERY
            with suppress(RuntimeError):  # no thread is to be had now
                self._asking = start_in_thread(self.renew)
        return renewed

    def _take(self, asked: Future[bool], log: Callable[[str, str], None]) -> bool:
        said, self._said = self._said, ""
        try:
            renewed = asked.result()
        except PrxError as error:
            self._said = with_hint(error.message, error.hint)
            if self._said != said:
                log("error", self._said)
            return False
        if renewed:
            log("info", "the lab has another token for a tunnel, which is taken")
        return renewed

    def _ask_token(self, hostname: str) -> str:
        return str(ask(self.control, "POST", "/token", {"hostname": hostname})["token"])


def _site(state: dict[str, Any]) -> EdgeSite:
    try:
        public, ca_file = urlsplit(state["public"]), Path(state["ca"])
        found = EdgeSite(
            edge_addrs=tuple(state["edge"]),
            ca_file=ca_file,
            quick_service=state["quick_service"],
            public_scheme=public.scheme,
            public_port=public.port or 80,
            doh=(state["doh"],),
            quick_zone="localhost",
            local=True,
            access_certs=f"{state['control']}{CERTS_PATH}",
            team_proxy=state.get("team_proxy", ""),
            joined=str(state["control"]),
        )
    except (KeyError, TypeError, ValueError):
        raise PrxError("what answers is no lab: it does not say where its edge is") from None
    if not ca_file.is_file():
        raise PrxError(
            f"the lab's CA cannot be read: no file {ca_file}", hint="join it as the user that runs it, on this machine"
        )
    return found
