"""The lifespan of an ASGI application with a tunnel: `prx.asgi.lifespan`."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from prx.client.asynchronous import AsyncTunnel
from prx.client.wish import understand

_WAIT_SECONDS = 20.0  # for the URL; after that the application starts, and the tunnel comes when it can

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]


def lifespan(
    target: int | str | None = None, *, inner: Lifespan | None = None, timeout: float = _WAIT_SECONDS, **options: Any
) -> Lifespan:
    """Return the `lifespan` of a FastAPI or Starlette application that opens a tunnel when the application starts.

    All workers of a server share one tunnel. Under a reloader, or a server with worker processes (uvicorn, gunicorn), it stays
    until *that* process ends, so that a reload keeps the URL. `app.state.tunnel` is the `AsyncTunnel`; its `url` is known when
    the application starts, unless the edge cannot be reached within `timeout` seconds: then the application starts, and the
    tunnel follows.

    target and options: as for `prx.open_tunnel`. inner: the application's own lifespan, which begins when the tunnel is open.
    Raises UsageError at once if the arguments are wrong; PermanentError, at the start, if the tunnel cannot work as it is set
    up.
    """
    understand(target, **options)

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[Mapping[str, Any] | None]:
        wish = understand(target, **options, also=supervisors())
        async with AsyncExitStack() as stack:
            app.state.tunnel = await stack.enter_async_context(AsyncTunnel(wish, timeout, needs_url=False))
            yield None if inner is None else await stack.enter_async_context(inner(app))

    return run


def supervisors() -> tuple[int, ...]:
    """Return the process that starts this worker again after a reload, if there is one.

    Known are all that use multiprocessing (uvicorn with --reload or --workers), gunicorn, and the reloaders of Flask and
    Django.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid:
        return (parent.pid,)
    environ = os.environ
    reloads = "true" in {environ.get("RUN_MAIN"), environ.get("WERKZEUG_RUN_MAIN")}
    if reloads or environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/"):
        return (os.getppid(),)
    return ()
