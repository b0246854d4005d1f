"""A value that cannot be printed, logged, dumped or pickled by accident.

Whatever renders a `Secret` — repr, str, format, a log call, a traceback with local variables, `json.dumps(default=str)` — shows
`<secret>`. The value itself comes out of `reveal()` alone, so that `grep reveal` finds every place where a secret leaves.
Standard library only: everything in prx may import this.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, ClassVar, Final, NoReturn, final

SHOWN: Final = "<secret>"


@final
class Secret:
    """Hold one secret text; bytes are taken as UTF-8 (ValueError, without the content, when they are not).

    Equal to another `Secret` of the same value, compared in constant time; never equal to a plain str. True unless empty.
    A copy is the same object (it cannot change, and a second copy in memory is of no use); pickling raises TypeError.
    """

    __slots__ = ("_value",)
    _value: bytes
    __iter__: ClassVar[None] = None  # also makes `in`, unpacking and list() fail

    def __init__(self, value: str | bytes) -> None:
        try:
            content = value.encode() if isinstance(value, str) else bytes(value)
            content.decode()
        except UnicodeError:
            raise ValueError("a secret must be UTF-8 text") from None  # the chained error would quote the content
        object.__setattr__(self, "_value", content)

    def reveal(self) -> str:
        """Return the value itself: the one way out."""
        return self._value.decode()

    @property
    def fingerprint(self) -> str:
        """Tell this secret from another: the first 8 hex digits of its SHA-256. Only for long random values, such as tokens."""
        return hashlib.sha256(self._value).hexdigest()[:8]

    def __repr__(self) -> str:
        return SHOWN

    def __format__(self, spec: str) -> str:
        return SHOWN  # whatever the spec: padding or precision could raise or tell a length

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return hmac.compare_digest(self._value, other._value) if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)  # keyed again in each process by Python itself

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a secret cannot be changed")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")
