"""Take the secrets out of what is shown of an exchange: those that the log hides, and signatures. Pure."""

from __future__ import annotations

import re
from typing import Final

from prx.logs.lines import CUT_MARKER
from prx.logs.redact import MARK, Redactor
from prx.traffic.coding import packed, unpacked

# what webhook senders prove themselves with: a signature cannot be turned into its key, but it can be sent again
_SIGNATURES: Final = r"(?:[\w-]*(?:signature|hmac)[\w-]*|[\w-]+-sig|x-telegram-bot-api-secret-token)"
_NAME: Final = re.compile(_SIGNATURES, re.IGNORECASE)
_LINE: Final = re.compile(rf"^({_SIGNATURES}[ \t]*:[ \t]*)(?!\[redacted\])[^\r\n]+", re.IGNORECASE | re.MULTILINE)

_PART_OF_A_LETTER: Final = "".join(map(chr, range(0xDC80, 0xDD00)))  # bytes that are no UTF-8, as surrogateescape decodes them


class Masks:
    """Hides in headers, text and bodies what `redactor` hides in the log, and signatures."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def header(self, name: str, value: str) -> str:
        """Return the value of a header as it may be shown."""
        if _NAME.fullmatch(name.strip()) and value:
            return MARK
        shown = self._redactor.line(f"{name}: {value}")
        return shown.partition(":")[2].strip() if shown.startswith(f"{name}:") else MARK

    def text(self, text: str) -> str:
        """Return text of any kind as it may be shown."""
        return _LINE.sub(rf"\1{MARK}", self._redactor.text(text))

    def data(self, data: bytes, *, cut: bool = False) -> bytes:
        """Return bytes as they may be shown. `cut`: more came, so that the end may be the beginning of a secret."""
        text = data.decode("utf-8", "surrogateescape")
        shown = self._cut(text) if cut else self.text(text)
        return shown.encode("utf-8", "surrogateescape")

    def _cut(self, text: str) -> str:
        """Return text that was cut, possibly within a letter, without the beginning of a secret at its end."""
        whole = text.rstrip(_PART_OF_A_LETTER)
        shown = self.text(whole + CUT_MARKER).removesuffix(CUT_MARKER)
        return shown + text[len(whole) :] if shown == whole else shown

    def body(self, data: bytes, coding: str, *, cut: bool) -> bytes:
        """Return a body as it may be shown; what is hidden in one with a content coding is hidden before it is packed again."""
        if not coding or not data:
            return self.data(data, cut=cut)
        try:
            plain = unpacked(data, coding)
        except (ImportError, ValueError):
            return self.data(data, cut=cut)
        shown = self.data(plain, cut=cut)
        return data if shown == plain else packed(shown, coding)
