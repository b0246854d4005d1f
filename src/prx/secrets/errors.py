"""What goes wrong with secrets. Messages name the place and the defect, never the content, not even its beginning.

PrxError
└── SecretError              a secret cannot be had or kept
    ├── SecretShortageError  the machine refuses it for now, so that nothing is known of the secret: a ShortageError as well
    ├── SecretNotFoundError  the secrets file is fine, it just has no such name
    ├── WrongKeyError        the secrets file is whole, but this key or password does not open it: ask again
    └── DamagedFileError     the secrets file is not what was written: offer the previous copy
"""

from __future__ import annotations

from prx.core.errors import PrxError, ShortageError
from prx.core.shortage import Lack, lack_of


class SecretError(PrxError):
    """A secret cannot be had or kept."""


class SecretShortageError(SecretError, ShortageError):
    """A secret cannot be had or kept for now: this machine lacks something."""


def secret_error(message: str, error: BaseException, *, hint: str = "", lack: Lack | None = None) -> SecretError:
    """Return what it means for a secret that `error` came up: a SecretError with `hint`, unless this machine lacks something.

    lack: what that is, if the error does not say it.
    """
    found = lack or lack_of(error)
    return SecretError(message, hint=hint) if found is None else SecretShortageError(message, hint=found.hint)


class SecretNotFoundError(SecretError):
    """The secrets file has no entry of this name."""


class WrongKeyError(SecretError):
    """The secrets file is whole, but this key or password does not open it."""


class DamagedFileError(SecretError):
    """The secrets file was cut short, altered, or is something else."""
