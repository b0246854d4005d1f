"""The control endpoint: what `Lab` can do, as JSON over HTTP, for programs in another process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final, Protocol, TypeAlias

from prx.lab import faults
from prx.lab.edge.api.account import Account
from prx.lab.edge.api.steering import Steering
from prx.lab.edge.faults import notation
from prx.lab.edge.faults.script import Inject, Script
from prx.lab.edge.public.access import CERTS_PATH, AccessFront
from prx.lab.edge.services.doh import PATH as DOH_PATH
from prx.lab.edge.services.endpoint import Answer, Request
from prx.lab.edge.state import Protected, PushResult, TunnelState

_FRONT: Final = frozenset(("aud", "client_id", "client_secret", "deny", "team"))

_Action: TypeAlias = Callable[[Request], Awaitable[Answer]]


class Controlled(Protocol):
    """What the endpoint needs of the lab; see `prx.lab.edge.lab.Lab`, whose methods these are."""

    @property
    def account(self) -> Account: ...
    def state(self) -> dict[str, Any]: ...
    def tunnel(self, hostname: str) -> TunnelState: ...
    @staticmethod
    def full_name(name: str) -> str: ...
    def token(self, hostname: str) -> str: ...
    def management_token(self, hostname: str, resource: str = "logs") -> str: ...
    async def push(self, hostname: str, config: Mapping[str, Any]) -> tuple[PushResult, ...]: ...
    def protect(self, hostname: str, front: AccessFront | None = None) -> Protected: ...
    def unprotect(self, hostname: str) -> None: ...
    def login(self, hostname: str, email: str) -> str: ...
    def access_keys(self) -> dict[str, Any]: ...
    def rotate_keys(self) -> None: ...
    def inject(self, fault: faults.Fault, *, lasts: float | None = None) -> None: ...
    def clear(self, kind: type[faults.Fault] | None = None) -> None: ...
    def begin(self, text: str | Script) -> None: ...


class Control:
    """Answers for the edge and its faults, below `/api/` for the account; `/dns-query` goes to `doh`."""

    def __init__(self, lab: Controlled, doh: _Action) -> None:
        self._lab = lab
        steering = Steering(lab.account)
        self._actions: Mapping[tuple[str, str], _Action] = {
            ("GET", "/state"): self._state,
            ("POST", "/token"): self._token,
            ("POST", "/management-token"): self._management_token,
            ("POST", "/push"): self._push,
            ("POST", "/protect"): self._protect,
            ("POST", "/unprotect"): self._unprotect,
            ("POST", "/login"): self._login,
            ("POST", "/rotate-keys"): self._rotate,
            ("GET", CERTS_PATH): self._keys,
            **steering.actions(),
            ("GET", "/faults"): self._list_faults,
            ("POST", "/faults"): self._inject,
            ("DELETE", "/faults"): self._clear,
            ("GET", DOH_PATH): doh,
            ("POST", DOH_PATH): doh,
        }

    async def handle(self, request: Request) -> Answer:
        """Answer one request; ValueError says what is wrong with it."""
        action = self._actions.get((request.method, request.path))
        if action is None:
            known = ", ".join(f"{method} {path}" for method, path in self._actions)
            return Answer.error(404, f"{request.method} {request.path} is unknown; expected one of {known}")
        try:
            return await action(request)
        except LookupError as error:
            return Answer.error(404, str(error.args[0]))

    async def _state(self, _request: Request) -> Answer:
        return Answer.of(self._lab.state())

    async def _token(self, request: Request) -> Answer:
        hostname = _text(request.json(), "hostname")
        token = self._lab.token(hostname)
        return Answer.of({"hostname": self._lab.full_name(hostname), "token": token})

    async def _management_token(self, request: Request) -> Answer:
        document = request.json()
        resource = _text(document, "resource") if "resource" in document else "logs"
        return Answer.of({"token": self._lab.management_token(_text(document, "hostname"), resource)})

    async def _push(self, request: Request) -> Answer:
        document = request.json()
        config = document.get("config")
        if not isinstance(config, dict):
            raise ValueError("'config' is missing or no JSON object; expected such as {\"ingress\": […]}")  # noqa: TRY004 - the input is wrong, not the call
        results = await self._lab.push(_text(document, "hostname"), config)
        return Answer.of({"results": [asdict(result) for result in results]})

    async def _protect(self, request: Request) -> Answer:
        document = request.json()
        hostname = _text(document, "hostname")
        wanted = {name: _text(document, name) for name in document if name != "hostname"}
        if not wanted.keys() <= _FRONT:
            raise ValueError(f"expected only hostname, {', '.join(sorted(_FRONT))}")
        front = AccessFront(**wanted)  # type: ignore[arg-type]  # AccessFront itself checks `deny`
        return Answer.of(asdict(self._lab.protect(hostname, front)))

    async def _login(self, request: Request) -> Answer:
        document = request.json()
        return Answer.of({"token": self._lab.login(_text(document, "hostname"), _text(document, "email"))})

    async def _keys(self, _request: Request) -> Answer:
        return Answer.of(self._lab.access_keys())

    async def _rotate(self, _request: Request) -> Answer:
        self._lab.rotate_keys()
        return Answer.of(self._lab.access_keys())

    async def _unprotect(self, request: Request) -> Answer:
        self._lab.unprotect(_text(request.json(), "hostname"))
        return Answer.of({})

    async def _list_faults(self, _request: Request) -> Answer:
        return Answer.of({"faults": self._lab.state()["faults"]})

    async def _inject(self, request: Request) -> Answer:
        document = request.json()
        if "script" in document:
            script = Script.parse(_text(document, "script"))
            self._require_tunnels(
                step.action.fault for step in script.steps if step.at_once and isinstance(step.action, Inject)
            )
            self._lab.begin(script)
            await asyncio.sleep(0)  # what has no time is done at once
        else:
            fault = notation.from_json(document)
            self._require_tunnels((fault,))
            self._lab.inject(fault)
        return await self._list_faults(request)

    def _require_tunnels(self, wanted: Iterable[faults.Fault]) -> None:
        """Raise LookupError if a tunnel is to be forgotten that does not exist: it would be a fault without an effect."""
        for fault in wanted:
            if isinstance(fault, faults.Forget):
                self._lab.tunnel(fault.hostname)

    async def _clear(self, request: Request) -> Answer:
        name = request.query.get("fault")
        if name is None:
            self._lab.clear()
        elif name in faults.KINDS:
            self._lab.clear(faults.KINDS[name])
        else:
            raise ValueError(f"unknown fault {name!r}; expected one of {', '.join(faults.KINDS)}")
        return await self._list_faults(request)


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key!r} is missing or no string")  # noqa: TRY004 - the input is wrong, not the call
    return value
