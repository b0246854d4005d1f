"""What a backend wants to be run: built by backends as plain data, started by `prx.runtime.process.child`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from prx.core.value import Value, value_class

SECRET_PATH = "{secret-path}"  # noqa: S105 - the placeholder for a path, not a password
"""This word inside an argument is replaced by the path under which the child reads `Launch.secret`, once."""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Launch(Value):
    """Name a program and everything that it gets from prx: nothing else reaches it.

    `argv[0]` is a path, or a name that is looked up on the PATH of `env` (of prx if `env` has none). `env` is the
    whole environment of the child. `secret` (at most 4096 bytes) is what the child finds at `SECRET_PATH`; it is in
    no argument, no variable and no file. `cwd` is the working directory; None keeps that of prx. `open_stdin` gives the
    child, in place of an empty stdin, one that stays silent and ends when prx does. `client` is a part of the file name of
    the program that serves, for when `argv[0]` is a script that starts it with other arguments; empty: any.

    Raises ValueError if `secret` and the word in `argv` do not go together: a secret that is never read, or a path
    that leads nowhere.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    secret: bytes | None = field(default=None, repr=False)
    cwd: Path | None = None
    open_stdin: bool = False
    client: str = ""

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0]:
            raise ValueError("argv needs a program")
        wanted = any(SECRET_PATH in argument for argument in self.argv)
        if wanted != (self.secret is not None):
            raise ValueError(f"a secret and the word {SECRET_PATH} in argv need each other")

    def arguments(self, secret_path: str = "") -> tuple[str, ...]:
        """Return `argv` with the real path of the secret in place."""
        return tuple(argument.replace(SECRET_PATH, secret_path) for argument in self.argv)
