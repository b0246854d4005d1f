"""Take the secrets out of what is shown of an exchange: those that the log hides, and signatures. Pure.

A body may be a megabyte on one line, which takes a second to search, and a regular expression lets no other thread run
meanwhile. So long lines are searched in pieces: in a thread, a large body holds up nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from prx.logs.lines import CUT_MARKER
from prx.logs.redact import MARK, Redactor
from prx.traffic.charset import decoded, encoded, wide_codecs
from prx.traffic.coding import is_whole, packed, unpacked

PIECE: Final = 16 * 1024
"""Characters of a line that are searched at once."""

# between two values of JSON, or two tags: a name and its secret never stand on both sides of these
_CUT: Final = re.compile(r"(?=,\s*[\"{\[])|(?<=>)(?=<)")

# what webhook senders prove themselves with: a signature cannot be turned into its key, but it can be sent again
_SIGNATURES: Final = r"(?:[\w-]{0,64}(?:signature|hmac)[\w-]{0,64}|[\w-]{1,64}-sig|x-telegram-bot-api-secret-token)"
_NAME: Final = re.compile(_SIGNATURES, re.IGNORECASE)
_LINE: Final = re.compile(rf"^({_SIGNATURES}[ \t]*:[ \t]*)(?!\[redacted\])[^\r\n]+", re.IGNORECASE | re.MULTILINE)

_PART_OF_A_LETTER: Final = "".join(map(chr, range(0xDC80, 0xDD00)))  # bytes that are no UTF-8, as surrogateescape decodes them
_FORM: Final = b"application/x-www-form-urlencoded"


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
        return "".join(map(self._block, _blocks(text)))

    def data(self, data: bytes, *, cut: bool = False, content_type: bytes = b"") -> bytes:
        """Return bytes as they may be shown. `cut`: more came, so that the end may be the beginning of a secret.

        `content_type` may name UTF-16 or UTF-32; without it they are known by their beginning.
        """
        is_form = _FORM in content_type.lower()
        for codec in wide_codecs(data, content_type):
            if (found := decoded(data, codec)) is not None:
                plain, rest = found
                wide = self._hidden(plain, cut=cut or bool(rest), is_form=is_form)
                data = data if wide == plain else encoded(wide, codec) + rest
        text = data.decode("utf-8", "surrogateescape")  # of one that is called UTF-16, too: it may be none
        return self._hidden(text, cut=cut, is_form=is_form).encode("utf-8", "surrogateescape")

    def _hidden(self, text: str, *, cut: bool, is_form: bool) -> str:
        """Return text as it may be shown. `is_form`: it is the fields of a form, of which the first has no & before it."""
        if is_form:
            return self._hidden(f"&{text}", cut=cut, is_form=False).removeprefix("&")
        return self._cut(text) if cut else self.text(text)

    def _cut(self, text: str) -> str:
        """Return text that was cut, possibly within a letter, without the beginning of a secret at its end."""
        whole = text.rstrip(_PART_OF_A_LETTER)
        shown = self.text(whole + CUT_MARKER).removesuffix(CUT_MARKER)
        return shown + text[len(whole) :] if shown == whole else shown

    def body(self, data: bytes, coding: str, *, cut: bool, content_type: bytes = b"") -> bytes:
        """Return a body as it may be shown; what is hidden in one with a content coding is hidden before it is packed again.

        Of one that cannot be unpacked nothing is shown, and of one that is too large as much as can be read.
        """
        if coding in {"", "identity"} or not data:
            return self.data(data, cut=cut, content_type=content_type)
        try:
            plain = unpacked(data, coding)
        except (ImportError, ValueError):
            return b""
        whole = is_whole(data, coding)
        shown = self.data(plain, cut=cut or not whole, content_type=content_type)
        return data if whole and shown == plain else packed(shown, coding)

    def _block(self, block: str) -> str:
        if not self._redactor.is_clean(block) or block.endswith(CUT_MARKER):  # a secret may begin at a cut
            block = "\n".join(map(self._line, block.split("\n")))
        return _LINE.sub(rf"\1{MARK}", block)

    def _line(self, line: str) -> str:
        if len(line) <= PIECE:
            return self._redactor.line(line)
        found = []
        for piece in _pieces(line):
            shown = self._redactor.line(piece)
            found.append(shown)
            if shown.endswith(MARK) and not piece.endswith(MARK):  # how far it reaches is not known
                break
        return "".join(found)


def _blocks(text: str) -> Iterator[str]:
    """Yield whole lines, many at once: most of them are clean, and a body may have a million."""
    at = 0
    while len(text) - at > PIECE and (cut := text.find("\n", at + PIECE)) >= 0:
        yield text[at : cut + 1]
        at = cut + 1
    yield text[at:]


def _pieces(line: str) -> Iterator[str]:
    at = 0
    while len(line) - at > PIECE and (cut := _CUT.search(line, at + PIECE)):
        yield line[at : cut.start()]
        at = cut.start()
    yield line[at:]
