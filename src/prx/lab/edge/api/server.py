"""Answers requests for the API: finds out who asks and for what, lets it be done, and notes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prx.lab.edge.api import envelope, errors
from prx.lab.edge.api.account import Account
from prx.lab.edge.api.call import Call, Reply, Route
from prx.lab.edge.api.errors import ApiError
from prx.lab.edge.api.faulting import Faulting
from prx.lab.edge.api.journal import READS, Entry
from prx.lab.edge.api.limits import Limits
from prx.lab.edge.api.router import Router
from prx.lab.edge.api.zones import ZONE_ID
from prx.lab.edge.config import LabConfig
from prx.lab.edge.event_hub import EventHub
from prx.lab.edge.faults.active import ActiveFaults
from prx.lab.edge.registry import ACCOUNT_TAG
from prx.lab.events import ApiAnswered

if TYPE_CHECKING:
    from prx.lab.edge.services.endpoint import Answer, Request

BASE: Final = "/client/v4"


class ApiServer:
    """Serves an account's calls below `/client/v4`."""

    def __init__(self, account: Account, faults: ActiveFaults, hub: EventHub, config: LabConfig) -> None:
        self._account = account
        self._hub = hub
        self._wall = config.wall
        self._faulting = Faulting(faults, config.sleep)
        self._limits = Limits(config.wall)
        self._router = Router(account.routes())

    async def handle(self, request: Request) -> Answer:
        """Answer one request; VisitorLeftError if a fault takes the answer away."""
        noting = _Noting(request.method, request.path.removeprefix(BASE))
        try:
            answer = await self._answer(request, noting)
            noting.status = answer.status
            return self._limits.of(answer, self._account.habits)
        except ApiError as error:
            noting.status, noting.code = error.status, error.code
            return self._limits.of(envelope.failure(error, self._account.habits), self._account.habits)
        finally:
            self._note(noting)

    async def _answer(self, request: Request, noting: _Noting) -> Answer:
        path, habits = noting.path, self._account.habits
        if not request.path.startswith(f"{BASE}/"):
            return await self._sign_in(request)
        token = self._account.tokens.of_header(request.headers.get("authorization"))
        route, params = self._router.find(request.method, path, int(habits.bad_identifier))
        noting.permission = "" if route.needs is None else route.needs.name
        fault = self._faulting.use(request.method, path, frozenset() if route.needs is None else route.needs.lacking)
        spoilt = await self._faulting.before(fault, path, not_enabled=self._account.not_enabled())
        if spoilt is not None:
            return spoilt
        if token is None or token.status != "active":
            verifies = path.endswith("/tokens/verify")
            raise errors.invalid_token() if verifies else errors.invalid_access_token(habits.unknown_token)
        call = Call(request, params, token, habits)
        self._permit(route, call)
        found = route.handler(call)
        noting.changed = request.method not in READS
        reply = found if isinstance(found, Reply) else Reply(found)
        await self._faulting.after(fault)
        return envelope.success(reply, habits)

    async def _sign_in(self, request: Request) -> Answer:
        """Answer a request for a page of the sign-in, or for tokens."""
        fault = self._faulting.use(request.method, request.path, frozenset())
        spoilt = await self._faulting.before(fault, request.path, not_enabled=self._account.not_enabled())
        answer = spoilt or self._account.oauth.answer(request)
        if answer is None:
            raise errors.no_route(request.path)
        await self._faulting.after(fault)
        return answer

    def _permit(self, route: Route, call: Call) -> None:
        """Raise ApiError if a token may not make a call."""
        if call.params.get("account", ACCOUNT_TAG).lower() != ACCOUNT_TAG:
            raise errors.unauthorized_resource()
        zone = call.params.get("zone", "").lower()
        if zone and (zone != ZONE_ID or (call.token.zones is not None and zone not in call.token.zones)):
            raise errors.unauthorized_resource()
        if route.needs is not None and not call.token.allows(route.needs):
            raise errors.forbidden(call.habits.forbidden)
        if route.access and not self._account.enabled:
            raise self._account.not_enabled()

    def _note(self, noting: _Noting) -> None:
        entry = noting.entry(self._wall())
        self._account.journal.note(entry)
        self._hub.emit(ApiAnswered(self._hub.now(), entry.method, entry.path, entry.status, entry.code, changed=entry.changed))


class _Noting:
    """What becomes known of a call while it is answered."""

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.status = 0
        self.code = 0
        self.permission = ""
        self.changed = False

    def entry(self, at: float) -> Entry:
        """Write it down."""
        return Entry(at, self.method, self.path, self.status, self.code, self.permission, self.changed)
