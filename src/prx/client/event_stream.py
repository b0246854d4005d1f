"""The events of one tunnel as a plain iterator, which another thread may end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from prx.client.link import Link


class EventStream(Iterator[dict[str, Any]]):
    """Yield the events of a link's tunnel, from now on; they end with prx or with `close`, which an unused one needs not."""

    def __init__(self, link: Link) -> None:
        self._tunnel = link.tunnel
        self._client = link.connect()
        self._over = False
        try:
            self._stream = self._client.stream()
        except BaseException:
            self._client.close()
            raise

    def __next__(self) -> dict[str, Any]:
        with suppress(OSError):  # closed meanwhile
            for event in self._stream:
                if self._over:
                    break
                if event["tunnel"] in {"", self._tunnel}:
                    return event
        self.close()
        raise StopIteration

    def close(self) -> None:
        """End it; another thread that waits for an event gets the end. Harmless when repeated."""
        self._over = True
        self._client.shut()
        self._client.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # it could not be made
            self._client.close()
