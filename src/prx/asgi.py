"""A tunnel with an ASGI application: `app = FastAPI(lifespan=prx.asgi.lifespan(8080))`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prx.front_door import late

if TYPE_CHECKING:
    from prx.client.lifespan import lifespan

__all__ = ["lifespan"]

if not TYPE_CHECKING:
    __getattr__ = late(__name__, {"lifespan": "prx.client.lifespan"})
