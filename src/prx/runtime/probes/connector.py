"""Ask the child itself, on the loopback port of its metrics server.

The server is the child's own and next to us, so an answer takes a millisecond; no answer in time means that the child is
stopped or stuck. The connection is kept open for the next question. Which paths there are is the backend's to say
(`prx.backends.base.Endpoints`).
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from prx.core.deadline import Deadline
from prx.runtime.probes.connect import Endpoint, ProbeError, connected
from prx.runtime.probes.http import Request, exchange
from prx.runtime.probes.kept import KeptConnection, NotKeptError

TIMEOUT = 2.0  # seconds
LIMIT = 1024 * 1024  # the ingress of a tunnel with a thousand host names; a cut-off answer would be no JSON


class Reply(NamedTuple):
    """Status and body of an answer."""

    status: int
    body: bytes


class ConnectorEndpoints:
    """The endpoints of one child, on 127.0.0.1:`port`; `close` them with it.

    unasked: prx itself could not put the last question, so that no answer is no sign of the child's.
    """

    def __init__(self, port: int, *, timeout: float = TIMEOUT) -> None:
        self.unasked = False
        self._place = Endpoint("127.0.0.1", port)
        self._timeout = timeout
        self._kept = KeptConnection(port, limit=LIMIT)

    def close(self) -> None:
        """Hang up."""
        self._kept.close()

    def is_refused(self) -> bool:
        """Return whether nothing listens there, which is known at once."""
        return self._kept.is_refused()

    def ask(self, path: str) -> None:
        """Send GET `path` ahead of the `get`, or the `at_hand`, that takes the answer."""
        self._kept.ask(path)

    def at_hand(self, path: str) -> Reply | None:
        """Return the answer to what was asked ahead if it has come; None is no sign of anything, and `get` goes on with it."""
        found = self._kept.at_hand(path)
        return None if found is None else Reply(*found)

    async def get(self, path: str, *, timeout: float | None = None, ahead: bool = True) -> Reply | None:
        """Return the answer to GET `path`, None when there is none within `timeout` seconds, or the usual ones.

        `ahead`: it may be the answer to a question that was asked ahead; else what is known by now is wanted.
        """
        within, self.unasked = self._timeout if timeout is None else timeout, False
        if not ahead and self._kept.ahead and not self._kept.busy:
            self._kept.close()
        if self._kept.busy or self._kept.ahead not in {"", path}:
            return await self._ask(path, within)
        try:
            return Reply(*await self._kept.get(path, within))
        except (TimeoutError, ConnectionRefusedError):
            return None
        except NotKeptError:
            return await self._ask(path, within)

    async def _ask(self, path: str, within: float) -> Reply | None:
        """Ask on a connection of its own."""
        deadline = Deadline(asyncio.get_running_loop().time, within)
        try:
            async with connected(self._place, timeout=within) as stream:
                request = Request(path, str(self._place))
                answer = await exchange(stream, request, timeout=deadline.left, limit=LIMIT, patience=within)
        except ProbeError as error:
            self.unasked = bool(error.unasked)
            return None
        return Reply(answer.status, answer.body) if answer.complete else None
