"""Ask the prx that runs for the word that its own checks carry, so that another command's check is no visit."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from prx.config.paths import runtime_dir
from prx.control.client import Client
from prx.control.instance import sockets
from prx.core.errors import PrxError
from prx.logs.redact import Redactor

SECONDS: Final = 1.0  # for each prx: one that is frozen must not use up the time of an examination


def own_mark_for(url: str, redactor: Redactor) -> str:
    """Return the word for a check of `url`, which `redactor` then hides; blocking, at most `SECONDS` for each prx.

    Empty if no prx of this user carries what comes to `url`, or none can be asked: then a check is a visit like any other.
    """
    with suppress(OSError):
        for path in sockets(runtime_dir()):
            with suppress(PrxError, OSError), Client(path, timeout=SECONDS) as client:
                if mark := str(client.ask("own_mark", url=url).get("own_mark", "")):
                    redactor.add(mark)
                    return mark
    return ""
