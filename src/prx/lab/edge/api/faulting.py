"""What a fault makes of a call: refused before it is done, or done and its answer spoilt."""

from __future__ import annotations

from typing import Final

from prx.lab.edge.api import errors
from prx.lab.edge.api.errors import ApiError
from prx.lab.edge.config import Sleep
from prx.lab.edge.faults.active import ActiveFaults
from prx.lab.edge.faults.api_faults import Api
from prx.lab.edge.public.visitor import VisitorLeftError
from prx.lab.edge.services.endpoint import Answer

_FOREVER_SECONDS: Final = 300.0  # longer than any client waits
_PAGE: Final = "<!DOCTYPE html><html><head><title>{status}</title></head><body><h1>Error {status}</h1>cloudflare</body></html>"


class Faulting:
    """Finds the fault that a call meets."""

    def __init__(self, faults: ActiveFaults, sleep: Sleep) -> None:
        self._faults = faults
        self._sleep = sleep
        self._counted: Api | None = None
        self._passed = 0

    def use(self, method: str, path: str, lacking: frozenset[str]) -> Api | None:
        """Return the fault that this call meets, and count it."""
        fault = self._faults.active(Api)
        if fault is not self._counted:
            self._counted, self._passed = fault, 0
        if fault is None or not fault.concerns(method, path, lacking):
            return None
        if self._passed < fault.skip:
            self._passed += 1
            return None
        return self._faults.use(Api)

    async def before(self, fault: Api | None, path: str, *, not_enabled: ApiError) -> Answer | None:
        """Refuse a call before it is done; None: do it. ApiError, or VisitorLeftError if it gets no answer."""
        match fault:
            case Api(kind="forbidden"):
                raise errors.forbidden(f"{fault.status or 403}/10000")
            case Api(kind="rate_limited"):
                raise _rate_limited(fault)
            case Api(kind="page"):
                status = fault.status or 502
                return Answer(status, _PAGE.format(status=status).encode(), "text/html; charset=UTF-8")
            case Api(kind="error"):
                raise ApiError(fault.status or 500, fault.code or 10002, "Internal Server Error")
            case Api(kind="unsuccessful"):
                raise ApiError(200, fault.code or 10002, "An unexpected error occurred")
            case Api(kind="conflict"):
                raise _conflict(path)
            case Api(kind="not_enabled"):
                raise not_enabled
            case Api(kind="cut"):
                raise VisitorLeftError("cut by a fault")
            case Api(kind="silence"):
                await self._sleep(_FOREVER_SECONDS)
                raise VisitorLeftError("silenced by a fault")
        return None

    async def after(self, fault: Api | None) -> None:
        """Spoil the answer of a call that is done; VisitorLeftError if it gets none."""
        if fault is not None and fault.kind == "lost":
            raise VisitorLeftError("lost by a fault")
        if fault is not None and fault.kind == "delay":
            await self._sleep(fault.seconds)


def _rate_limited(fault: Api) -> ApiError:
    headers = [("Ratelimit-Policy", '"default";q=1200;w=300')]
    if fault.retry_after is not None:
        headers += [("Ratelimit", f'"default";r=0;t={fault.retry_after}'), ("Retry-After", str(fault.retry_after))]
    text = "Please wait and consider throttling your request speed"
    return ApiError(fault.status or 429, 971 if fault.code is None else fault.code, text, headers=tuple(headers))


def _conflict(path: str) -> ApiError:
    if "/cfd_tunnel" in path:
        return ApiError(409, 1013, "You already have a tunnel with this name.")
    if "/access/" in path:
        return ApiError(409, 12136, "access.api.error.application_already_exists")
    return ApiError(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
