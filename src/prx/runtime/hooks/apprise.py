"""A hook that is an address of `apprise`: a mail, a chat, a push message; with the extra `notify`.

The library is imported in a child process (`prx.runtime.hooks.send_apprise`) of its own: it is large, it blocks, and what it
does with a hundred services must not be able to hold prx up. The address is a secret as a whole; it goes to the child over a
pipe, and only its scheme is ever named.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final

from prx.core.launch import SECRET_PATH, Launch
from prx.runtime.hooks.in_child import run_to_end
from prx.runtime.hooks.kinds import HookError, Message

TIMEOUT: Final = 30.0  # seconds; apprise itself gives each service four
MISSING: Final = "apprise is not installed; it comes with the extra notify: pip install 'prx-tunnel[notify]'"


def is_installed() -> bool:
    """Return whether the library is there; it is not imported."""
    return find_spec("apprise") is not None


@dataclass(frozen=True, slots=True)
class AppriseHook:
    """An address such as `mailto://…` or `slack://…`."""

    text: str = field(repr=False)
    timeout: float = TIMEOUT

    @property
    def label(self) -> str:
        """Name the scheme."""
        return f"{self.text.partition('://')[0]}://***"

    async def deliver(self, change: Message) -> None:
        """Send the news in a child process; HookError if it could not be handed over in time."""
        if not is_installed():
            raise HookError(MISSING, permanent=True)
        job = json.dumps({"address": self.text, "text": change.text}).encode()
        argv = (sys.executable, "-P", "-m", "prx.runtime.hooks.send_apprise", SECRET_PATH)
        end, tail = await run_to_end(Launch(argv, {}, job), self.timeout, lines=1)
        if end is None:
            raise HookError(f"not handed over after {self.timeout:g} s")
        if end.code != 0:
            raise HookError(tail[-1].decode("utf-8", "replace")[:300] if tail else "it was not handed over")
