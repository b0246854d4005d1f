"""A task group whose tasks end with it: what servers need, whose tasks would otherwise wait forever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")


class ServerTaskGroup(asyncio.TaskGroup):
    """A `TaskGroup` that cancels the tasks that still run when its block is left, and waits for their end.

    An exception of the block itself leaves it as it is, not wrapped into a group, as long as no task has failed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._crew: set[asyncio.Task[Any]] = set()

    def create_task(  # type: ignore[override]  # only coroutines are ever given
        self, coro: Coroutine[Any, Any, _T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[_T]:
        """Start a task that lives at most as long as the group."""
        task: asyncio.Task[_T] = super().create_task(coro, name=name, context=context)
        self._crew.add(task)
        task.add_done_callback(self._crew.discard)
        return task

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._crew:
            task.cancel()
        try:
            await super().__aexit__(kind, error, trace)
        except BaseExceptionGroup as failures:
            if failures.exceptions != (error,):
                raise
