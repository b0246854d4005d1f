"""What goes wrong with secrets. Messages name the place and the defect, never the content, not even its beginning.

PrxError
└── SecretError              a secret cannot be had or kept
    ├── SecretNotFoundError  the secrets file is fine, it just has no such name
    ├── WrongKeyError        the secrets file is whole, but this key or password does not open it: ask again
    └── DamagedFileError     the secrets file is not what was written: offer the previous copy
"""

from __future__ import annotations

from prx.core.errors import PrxError


class SecretError(PrxError):
    """A secret cannot be had or kept."""


class SecretNotFoundError(SecretError):
    """The secrets file has no entry of this name."""


class WrongKeyError(SecretError):
    """The secrets file is whole, but this key or password does not open it."""


class DamagedFileError(SecretError):
    """The secrets file was cut short, altered, or is something else."""
