"""What a forked child must not keep: a connection to prx, or a pipe, belongs to the process that made it.

A copy in a child would hold prx for as long as the child lives. And what the child does with its copy it does to the parent's:
to shut it down ends the wait of the parent's thread.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Closable(Protocol):
    """Something with a descriptor."""

    def close(self) -> None:
        """Close this process's copy of it."""


_ours: weakref.WeakSet[Closable] = weakref.WeakSet()


def close_in_children(closable: Closable) -> None:
    """Have `closable` closed in every child that this process forks; an exec closes it by itself."""
    _ours.add(closable)


def _close_all() -> None:
    for closable in list(_ours):
        closable.close()
    _ours.clear()


os.register_at_fork(after_in_child=_close_all)
