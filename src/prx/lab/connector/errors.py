"""Define what ends the process before or at the start.

StartError             exit code 1
CredentialsError     what proves the tunnel is missing or cannot be used; with a pointer to the help, 255
"""

from __future__ import annotations


class StartError(Exception):
    """The process ends before or at the start; `code` is its exit code, the text is its last line on stderr."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class CredentialsError(StartError):
    """What proves the tunnel is missing or unusable; `usage` adds a pointer to the help, and the exit code is 255."""

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(f"{text}\nSee 'cloudflared tunnel run --help'." if usage else text, 255 if usage else 1)
