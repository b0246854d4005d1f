"""What carrying out a plan needs of this machine, as functions: nothing here knows where secrets and files are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from prx.cloudflare_api.steps import Step
from prx.secrets.value import Secret


class Deliver(Protocol):
    """Hand a service token's two values to their owner: print them, or keep them in the secrets manager."""

    def __call__(self, name: str, client_id: str, secret: Secret, kept_as: str) -> bool:
        """Return whether they have arrived (False: the caller tells the journal later); raise if they cannot."""


@dataclass(frozen=True, slots=True)
class Ports:
    """keep_secret(name, value), drop_secret(name), write_file(team, aud), clean_file(): this machine's own things.

    deliver: see `Deliver`. begun: called with each step before it is done.
    """

    keep_secret: Callable[[str, Secret], None]
    drop_secret: Callable[[str], None]
    write_file: Callable[[str, str], None]
    clean_file: Callable[[], None]
    deliver: Deliver
    begun: Callable[[Step], None] = lambda _: None
