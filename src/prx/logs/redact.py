"""Take secrets out of a line of text before it is stored or shown.

Theory of operation
-------------------
Two kinds of secret are known: *values* that prx holds itself (`Redactor.add`), found in every form in which a program might
print them, and *places* where a visitor's or an operator's secret stands: request headers (at level debug cloudflared logs
`headers={"Authorization":["Bearer …"],…}` for every request, observed with cloudflared 2026.8.2; Go programs also print
`map[Authorization:[Bearer …]]`), environment assignments, options, query parameters, passwords in URLs, and tokens that can
be recognized by their start: `eyJ`, the base64 of `{"`, and what Cloudflare gives its own secrets since 2026 (`cfut_` a user's
token, `cfat_` an account's, `cfk_` a global key, 40 characters behind it; `cfast_` the secret of a service token). Older
ones have no mark, 40 characters or 64 hexadecimal digits, and are hidden if the words in front call them what they are.

It works on **whole lines**: give it what `prx.logs.lines` hands out, never a piece of a line. If a line was cut, its end is
checked for the beginning of a secret.

A line that holds none of a few words cannot hold a secret place, so a clean line costs one search. If it is not
clear how far a secret reaches, too much is taken out rather than too little. JSON stays JSON.

What stands in front of a secret is bounded in length, so that no line, whatever a visitor has put into it, costs more than its
length.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from urllib.parse import quote, quote_plus

from prx.logs.lines import CUT_MARKER

MARK = "[redacted]"
"""Stands where a secret stood."""

# What encoders of JSON write as a number beside what has to be: most of them nothing, Go and Rails, Gson, PHP with all its
# flags, .NET's former one, System.Text.Json. Of what is not ASCII each of them may do so, too, with digits of either case.
_AS_NUMBERS = tuple(map(frozenset, ("", "&<>", "&<>='", "&<>'\"", "&<>+'", "\"&'+<>`")))
_NOT_AS_IT_IS = re.compile(r"""[^ -~]|["&'+/<=>`\\]""")  # in one of them
_SHORT_IN_JSON = dict(zip('\\"\b\f\n\r\t', ("\\\\", '\\"', "\\b", "\\f", "\\n", "\\r", "\\t"), strict=True))
_SHORTEST = 4  # a shorter value would black out ordinary words
_LONG_RUN = 8  # letters and digits of a value; fewer stand in too many other lines
_RUN = re.compile(r"[A-Za-z0-9]+")
_SHORTEST_START = 4  # of a secret at the end of a cut line
_LONGEST_START = 4096

_HEADERS = "|".join(
    (
        r"(?:proxy-)?authorization",
        r"(?:set-)?cookie2?",
        r"cf-access-[\w-]{1,64}",
        r"x-[\w-]{0,64}(?:api-?key|auth-key|token|secret|password)[\w-]{0,64}",
        r"api-key",
    )
)
# NAME: value, "NAME": "value"; as an archive has them ("name": "NAME", "value": "…"); as pairs of a list (["NAME", "value"])
_QUOTE = r"\\*[\"']"
_HEADER = re.compile(
    rf"(?<![\w-])(?:{_HEADERS})(?![\w-])(?:\\*[\"']?\s*[:=]\s*|{_QUOTE}\s*,\s*{_QUOTE}value{_QUOTE}\s*:\s*(?={_QUOTE}))"
    rf"|[\[(]\s*b?{_QUOTE}(?:{_HEADERS}){_QUOTE}\s*,\s*b?(?={_QUOTE})",
    re.IGNORECASE,
)
_HEADER_WORDS = ("authorization", "cookie", "cf-access-", "x-", "api-key")  # one of which stands in each of them
_GO_NEXT_KEY = re.compile(r"\]\s+[A-Za-z][\w-]*:\[")
_COMMA = re.compile(r"\s*,\s*")
_OPEN_QUOTE = re.compile(r"\\*[\"']")
_UNESCAPED_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')

_VALUE = r"(?!\[redacted\])[^\s\"'\\&,;\]})]+"
_VARIABLES = "TUNNEL_TOKEN|CLIENT_SECRET|MASTER_KEY|API_TOKEN|API_KEY|CF_AUTHORIZATION|CF_APPSESSION"
# names of parameters that hold a secret: short ones alone or behind _ or -, long ones at the end of any name (accessToken)
_SHORT_PARAMETERS = "key|code|sig|auth|sid|otp|jwt|pwd"
_PARAMETERS = "token|api_?key|secret|password|passwd|signature|assertion|hmac|session|session_?id|ticket|credential"
_MARKED = r"cf(?:ast|ut|at|k)_"
# what stands in words between the name of a secret and the secret: "API token is", "client secret (new):", "service token `"
_CALLED = r"(?:api|global|client|service|access|account|user|tunnel)[ _-]?(?:api[ _-])?(?:token|secret|key)s?"
# each with words in lower case, one of which stands in every line that it matches
_PLACES = (
    # variables and cookies: NAME=value, NAME:value, "NAME": "value"
    (("_",), rf"(?:{_VARIABLES})(?:\s*=\s*|\\*[\"']\s*[=:]\s*|:(?=\S))(?:\\*[\"'])?(?P<variable>{_VALUE})"),
    # NAME: value, if the value may be one: messages name variables in front of a colon, too
    (("_",), rf"(?:{_VARIABLES})\s*:\s+(?:\\*[\"'])?(?P<assigned>[\w+/=-]{{16,}})(?![\w.])"),
    (("--token",), rf"--token[= ]\s*(?:\\*[\"'])?(?P<option>{_VALUE})"),
    (("--allowed-mail",), r"--allowed-mail[= ]\s*(?:\\*[\"'])?(?P<guest>(?!\[redacted\])[^\s\"'\\]+)"),
    (("cf",), rf"(?<![A-Za-z0-9])(?P<marked>{_MARKED}[\w-]{{20,}})"),
    (
        ("token", "secret", "key"),
        rf"\b{_CALLED}\b[^\w\n]{{0,4}}(?:\w{{1,8}}[^\w\n]{{1,3}})?(?P<unmarked>[0-9a-f]{{64}}|[\w-]{{40}})(?![\w-])",
    ),
    (
        ("=",),
        rf"[?&#;](?:(?:[\w-]{{1,64}}[_-])?(?:{_SHORT_PARAMETERS})|[\w.%\[-]{{0,64}}(?:{_PARAMETERS}))(?:\]|%5D){{0,4}}=(?P<parameter>{_VALUE})",
    ),
    # a password may hold @ and /; what looks like a port is none (http://localhost:5173/@vite/client)
    (
        ("@",),
        r"://(?!\[)[^\s/:@\"']{0,128}:(?P<password>[^\s/\"']{1,256}|(?!\d{1,5}/)(?=[^\s\"'@]{1,128}/)[^\s\"'@]{2,128})@",
    ),
    (("@",), r"://(?P<user>[\w.~%+=-]{16,})@"),  # a token in the place of the name
    (("eyj",), r"(?P<jwt>eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)*)"),
    (("eyj",), r"(?P<token>eyJ[\w+/=-]{57,}(?:%3D)*)"),
    (("bearer",), r"\bBearer\s+(?P<bearer>[\w+/=.~-]{16,})"),
)
_EVERY = (True,) * len(_PLACES)
_CUT_TOKEN = re.compile(rf"(?:eyJ[\w+/=.-]*|(?<![A-Za-z0-9]){_MARKED}[\w-]*)$", re.IGNORECASE)

# every place above needs one of these words; lower case
_TRIGGERS = ("eyj", "authorization", "cookie", "token", "secret", "key", "passw", "bearer", "--allowed-mail", "@")
_TRIGGERS_OF_PARAMETERS = (
    *("auth", "sig", "otp", "jwt", "pwd", "hmac", "session", "ticket", "credential", "assertion"),
    *(name + end for name in ("code", "sid") for end in ("=", "]", "%5d")),  # alone they stand in too many other words
)
_TRIGGERS_OF_CLOUDFLARE = ("cf-access", "cf_app", "cfast_", "cfut_", "cfat_", "cfk_")
TRIGGERS = (("", _TRIGGERS), ("=", _TRIGGERS_OF_PARAMETERS), ("cf", _TRIGGERS_OF_CLOUDFLARE))
"""Words in lower case, one of which stands in every line that holds a secret place, and what else such a line holds then."""

# what `re.IGNORECASE` takes for a letter of ASCII and `str.lower` does not make one: I with a dot, i without one, the long s
_TAKEN_FOR = (("\u0130", "i"), ("\u0131", "i"), ("\u017f", "s"))


class Redactor:
    """Take known values and secret places out of lines; one for the whole program.

    needles: what holds none of them, as they may stand in a program's output, holds no known value.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.needles: tuple[bytes, ...] = ()
        self._forms: frozenset[str] = frozenset()
        self._needles: set[str] = set()
        self._shortest: tuple[str, ...] = ()
        self._values: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> bool:
        """Learn a value that must never be seen, in its usual encodings too.

        Each line of a value of several lines counts by itself. False if nothing was learnt: a value of fewer than 4
        characters cannot be distinguished from ordinary text.
        """
        parts = [part for line in secret.splitlines() if len(part := line.strip()) >= _SHORTEST]
        for part in parts:
            forms = frozenset(_forms(part))
            self._forms |= forms
            self._needles.update(_needles(part, forms))
        self._learn()
        return bool(parts)

    def line(self, text: str, *, one_of_many: bool = False) -> str:
        """Return one whole line without its secrets. A clean line comes back as it is.

        one_of_many: others like it follow, so it is worth compiling a pattern for what it may hold alone.
        """
        cut = text.endswith(CUT_MARKER)
        if not cut and self.is_clean(text):
            return text
        if self._values is not None:
            text = self._values.sub(MARK, text)
        places = _places_in(text) if one_of_many and text.isascii() else _pattern_of(_EVERY)
        text = places.sub(_hide_group, _hide_headers(text))
        return self._hide_start(text.removesuffix(CUT_MARKER)) + CUT_MARKER if cut else text

    def text(self, text: str) -> str:
        """Return whole lines without their secrets. Many clean lines cost one search, as one does."""
        if "\n" not in text:
            return self.line(text)
        if CUT_MARKER not in text and self.is_clean(text):
            return text
        return "\n".join(map(self.line, text.split("\n")))

    def are_clean(self, texts: Iterable[str]) -> bool:
        """Return whether texts hold no secret, at the price of one; False if that is not certain."""
        together = "\n".join(texts)
        return CUT_MARKER not in together and self.is_clean(together)

    def is_clean(self, text: str) -> bool:
        """Return whether lines hold none of the words without which there is no secret; many lines cost no more than one."""
        for form in self._shortest:  # not `any`: a generator doubles the price
            if form in text:
                return False
        lowered = _lowered(text)
        for sign, words in TRIGGERS:
            if sign in lowered:
                for word in words:
                    if word in lowered:
                        return False
        return True

    def _learn(self) -> None:
        forms = self._forms
        self._shortest = tuple(_without_longer(self._needles))
        self.needles = tuple(needle.encode("utf-8", "surrogateescape") for needle in self._shortest)
        # the longest first, so that no rest of one stays beside the mark of another
        longest_first = sorted(forms, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def _hide_start(self, text: str) -> str:
        """Hide the beginning of a secret at the end of a line that was cut there."""
        end = text[-_LONGEST_START:]
        hidden = _CUT_TOKEN.sub(MARK, end)
        if hidden != end:
            return text[: len(text) - len(end)] + hidden
        for form in sorted(self._forms, key=len, reverse=True):
            for length in range(min(len(form), len(text)), _SHORTEST_START - 1, -1):
                if text.endswith(form[:length]):
                    return text[:-length] + MARK
        return text


def _lowered(text: str) -> str:
    """Return `text` in lower case, with every letter that a pattern takes for one of ASCII, whatever its case, as that one."""
    if not text.isascii():
        for letter, plain in _TAKEN_FOR:
            text = text.replace(letter, plain)
    return text.lower()


def _places_in(text: str) -> re.Pattern[str]:
    """Return a pattern that finds in `text`, which is ASCII, what that of all places does, several times as fast."""
    lowered = text.lower()
    return _pattern_of(tuple(any(word in lowered for word in words) for words, _ in _PLACES))


@functools.lru_cache(maxsize=64)
def _pattern_of(chosen: tuple[bool, ...]) -> re.Pattern[str]:
    places = [place for (_, place), wanted in zip(_PLACES, chosen, strict=True) if wanted]
    return re.compile("|".join(places) or "(?!)", re.IGNORECASE)


def _without_longer(forms: Iterable[str]) -> list[str]:
    """Return the forms that hold no other one: a text that holds any form holds one of these."""
    found: list[str] = []
    for form in sorted(forms, key=len):
        if not any(shorter in form for shorter in found):
            found.append(form)
    return found


def _forms(secret: str) -> Iterator[str]:
    """Yield every way in which a program may print a value."""
    raw = secret.encode("utf-8", "surrogateescape")
    yield secret
    yield quote(raw, safe="")
    yield quote(raw)
    yield quote_plus(raw)
    yield quote(raw, safe="").lower() if "%" in quote(raw, safe="") else secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield from _in_json(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(raw).decode()
        yield from (whole, whole.rstrip("="), quote(whole, safe=""))
        if len(raw) >= 2 * _SHORTEST:
            yield from _inside_base64(raw, encode)


def _in_json(secret: str) -> Iterator[str]:
    """Yield a value as encoders of JSON write it that write more than they need as numbers."""
    present = frozenset(_NOT_AS_IT_IS.findall(secret))
    if not present:
        return
    others = {sign for sign in present if sign > "~"}
    for signs in {signs & present for signs in _AS_NUMBERS}:
        for as_numbers, digits in product((signs, signs | others), (str.lower, str.upper)):
            text = secret.translate({ord(sign): _escaped(sign, as_numbers, digits) for sign in present})
            yield from (text, text.replace("/", "\\/"))


def _escaped(sign: str, as_numbers: frozenset[str], digits: Callable[[str], str]) -> str:
    """Return a character in a string of JSON; one of `as_numbers` as its numbers in UTF-16, in digits of one case."""
    if sign not in as_numbers and (sign in _SHORT_IN_JSON or sign >= " "):
        return _SHORT_IN_JSON.get(sign, sign)
    units = digits(sign.encode("utf-16-be", "surrogatepass").hex())
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _needles(secret: str, forms: Iterable[str]) -> Iterator[str]:
    """Yield texts one of which stands in each of the forms of a value: its longest run of letters and digits is in most."""
    run = max(_RUN.findall(secret), key=len, default="")
    if len(run) < _LONG_RUN:
        yield from forms
        return
    yield run
    yield from (form for form in forms if run not in form)


def _inside_base64(raw: bytes, encode: object) -> Iterator[str]:
    """Yield what base64 makes of a value in the middle of something longer: only whole groups of its own bits."""
    assert callable(encode)
    for shift in range(3):
        text = encode(b"\0" * shift + raw).decode().rstrip("=")
        first = -(-shift * 8 // 6)
        last = (shift + len(raw)) * 8 // 6
        yield text[first:last]


def _hide_group(match: re.Match[str]) -> str:
    name = match.lastgroup
    assert name is not None
    start, end = match.span(name)
    return match.string[match.start() : start] + MARK + match.string[end : match.end()]


def _hide_headers(text: str) -> str:
    """Hide the value after each secret header's name, in whatever notation it stands."""
    lowered = text.lower()
    if text.isascii() and not any(word in lowered for word in _HEADER_WORDS):
        return text
    is_json = text.startswith("{")
    parts, done = [], 0
    while match := _HEADER.search(text, done):
        limit = len(text)
        if is_json and (quote_mark := _UNESCAPED_QUOTE.search(text, match.end())):
            limit = quote_mark.end() - 1
        end, mark = _value_after(text, match.end(), limit)
        parts += [text[done : match.end()], mark]
        done = end
    return "".join([*parts, text[done:]])


def _value_after(text: str, start: int, limit: int) -> tuple[int, str]:
    """Find the end of the value that starts here, and what to put in its place.

    `limit` is where an unquoted value ends at the latest.
    """
    opening = _OPEN_QUOTE.match(text, start)
    if opening is not None:
        return _quoted_end(text, opening), opening[0] + MARK + opening[0]
    if not text.startswith("[", start) or text.startswith(MARK, start):  # what was hidden before stays as it is
        return limit, MARK
    opening = _OPEN_QUOTE.match(text, start + 1)
    if opening is None:
        next_key = _GO_NEXT_KEY.search(text, start, limit)
        return (next_key.start() if next_key else limit), f"[{MARK}"
    end = _quoted_end(text, opening)
    while (comma := _COMMA.match(text, end)) and (inner := _OPEN_QUOTE.match(text, comma.end())):
        end = _quoted_end(text, inner)
    return end, f"[{opening[0]}{MARK}{opening[0]}"


def _quoted_end(text: str, opening: re.Match[str]) -> int:
    """Return where a quoted value ends, with its closing quote; the end of the line if there is none.

    Inside a string inside JSON the quotes carry backslashes: the closing quote has as many as the opening one.
    """
    escapes, mark = len(opening[0]) - 1, opening[0][-1]
    at = opening.end()
    while (at := text.find(mark, at)) >= 0:
        before = at
        while before > opening.end() and text[before - 1] == "\\":
            before -= 1
        # more backslashes escape a quote inside the value; an even surplus is the value's own backslashes
        surplus = at - before - escapes
        if surplus >= 0 and surplus % (2 * (escapes + 1)) == 0:
            return at + 1
        at += 1
    return len(text)
