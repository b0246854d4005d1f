"""Many raw lines at once are cleaned as each of them would be alone: no secret stays, and nothing else goes."""

from __future__ import annotations

import itertools
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.logs import redact, search
from prx.logs.flood import clean_block
from prx.logs.lines import LineSplitter
from prx.logs.redact import MARK, TRIGGERS, Redactor
from prx.logs.search import Searched
from prx.logs.text import decode

KNOWN = "correct-horse-battery-staple"
TOKEN = "eyJhIjoiMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCJ0IjoiMDEyMzQ1NiIsInMiOiJhYmNkZWYifQ=="
PLAIN = b'{"level":"debug","time":"2026-11-22T17:12:10Z","message":"GET https://app.example.com/item/1 HTTP/1.1"}'
PLANTED = {
    "known": f"it is {KNOWN} now",
    "token": f'{{"message":"run","token":"{TOKEN}"}}',
    "in capitals": f"AUTHORIZATION: BEARER {TOKEN.upper()}",
    "header": '{"headers":{"Cookie":["sid=0123456789abcdef"]}}',
    "parameter": "GET /?sig=0123456789abcdef&x=1",
    "variable": "TUNNEL_TOKEN=0123456789abcdef",
    "password": "http://user:hunter22@example.com/",
    "of Cloudflare": "with cfut_0123456789012345678901234567890123456789",
    "unmarked": "API token is 0123456789012345678901234567890123456789",
    "assigned": "MASTER_KEY: 0123456789abcdef0123",
    "option": "run --token 0123456789abcdef",
    "user": "https://0123456789abcdef@example.com/",
    "signed": "with eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl",
    "bearer": "as Bearer 0123456789abcdef0123",
    "bearer, mixed": "as bEaReR 0123456789abcdef0123",
    "guest": "--allowed-mail visitor@example.com",
    "not ASCII": f"é {KNOWN} …",
    "coloured": f"\x1b[31m{KNOWN}\x1b[0m",
    "Kelvin": "TO\u212aEN=0123456789abcdef?to\u212aen=0123456789abcdef",
}


@pytest.fixture
def redactor() -> Redactor:
    """Return a redactor that knows one secret."""
    return Redactor([KNOWN])


def clean_lines(redactor: Redactor, lines: list[bytes]) -> str:
    """Return what becomes of lines that are cleaned at once."""
    return clean_block(redactor, b"".join(line + b"\n" for line in lines)).decode().removesuffix("\n")


def one_by_one(redactor: Redactor, lines: list[bytes]) -> str:
    """Return what the lines are if each is decoded and cleaned alone."""
    return "\n".join(redactor.line(decode(line)) for line in lines)


@pytest.mark.parametrize("position", [0, 150, 299])
@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
@pytest.mark.parametrize("times", [1, 7])
def test_a_planted_secret_is_hidden_and_the_rest_stays(redactor: Redactor, planted: str, position: int, times: int) -> None:
    """Wherever it stands among hundreds of lines, and however many hold one."""
    lines = [PLAIN] * 300
    lines[position:position] = [planted.encode()] * times
    found = clean_lines(redactor, lines)
    assert found == one_by_one(redactor, lines)
    assert found.count(PLAIN.decode()) == 300
    assert KNOWN not in found


EACH = [word for _, group in TRIGGERS for word in group]
words = st.sampled_from([*EACH, *(word.upper() for word in EACH), KNOWN, TOKEN, *PLANTED.values(), "=", " ", "\t", "é"])
line = st.lists(words | st.text(st.characters(blacklist_characters="\n"), max_size=12), max_size=6).map("".join)


@given(
    st.lists(line.map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=20), min_size=1, max_size=12),
    st.sampled_from([0, 20]),
)
def test_many_lines_are_cleaned_as_each_alone(lines: list[bytes], plain: int) -> None:
    """Whatever they hold: words that give a secret away, other scripts, bytes that are no text; few of them or many."""
    lines = [line.replace(b"\n", b"") for line in lines] + [PLAIN] * plain
    redactor = Redactor([KNOWN])
    assert clean_lines(redactor, lines) == one_by_one(redactor, lines)


class Asked(Redactor):
    """Hide every line that is redacted."""

    def line(self, text: str, *, one_of_many: bool = False) -> str:
        """Hide all."""
        return MARK


OF_ALL_LETTERS = b'{"message":"PACK MY BOX with five dozen liquor jugs = @"}'
AROUND = {
    "with few letters": [PLAIN] * 20,
    "with all letters": [PLAIN, OF_ALL_LETTERS] * 20,
    "with few letters, and some with all": [PLAIN] * 20 + [OF_ALL_LETTERS] * 7,
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())
@pytest.mark.parametrize(("sign", "trigger"), [(sign, word) for sign, group in TRIGGERS for word in group])
def test_each_word_is_looked_for(sign: str, trigger: str, around: list[bytes]) -> None:
    """A word that the quick search did not know would let a line pass as it is."""
    planted = [*around, f"a {trigger.upper()} b {sign}".encode(), *around]
    assert clean_lines(Asked(), planted).split("\n")[len(around)] == MARK


@pytest.mark.parametrize("word", [word for sign, group in TRIGGERS if sign != "=" for word in group])
def test_each_word_is_looked_for_in_every_case(word: str) -> None:
    """However its letters are written: without a copy in lower case, a line with a word is redacted all the same."""
    for letters in itertools.product(*({letter, letter.upper()} for letter in word)):
        planted = [*[PLAIN] * 10, f"a {''.join(letters)} b".encode(), *[PLAIN] * 10]
        assert clean_lines(Asked(), planted).split("\n")[10] == MARK


anything = st.one_of(
    *(st.from_regex(re.compile(place, re.IGNORECASE | re.ASCII)) for _, place in redact._PLACES),
    st.from_regex(re.compile(redact._HEADER.pattern, re.IGNORECASE | re.ASCII)),
).map(lambda text: decode(text.encode("utf-8", "replace")))


@given(anything, st.sampled_from([PLAIN, OF_ALL_LETTERS]), st.sampled_from([10, 20]))
def test_whatever_is_a_secret_place_is_redacted(text: str, plain: bytes, count: int) -> None:
    """What the pattern of any place matches, in any case, is neither clean for one line nor overlooked in many."""
    if not text.isascii() or not any(pattern.search(text) for pattern in (redact._pattern_of(redact._EVERY), redact._HEADER)):
        return
    assert not Redactor().is_clean(text)
    lines = [*[plain] * count, text.encode(), *[PLAIN] * 20]
    assert clean_lines(Asked(), lines).split("\n")[count] == MARK


any_case = st.sampled_from([planted for planted in PLANTED.values() if KNOWN not in planted]).flatmap(
    lambda text: st.lists(st.booleans(), min_size=len(text), max_size=len(text)).map(
        lambda upper: "".join(letter.swapcase() if other else letter for letter, other in zip(text, upper, strict=True))
    )
)
noise = st.sampled_from([b"\x01", b"\t", b"\x1b[31m", b"\x7f", b"\xff", b"\xc3", "é".encode(), b"\r", b"\0"])


@given(
    st.lists(any_case | st.sampled_from([KNOWN, TOKEN, ""]), min_size=1, max_size=5),
    st.lists(st.tuples(noise, st.integers(0, 200)), max_size=3),
    st.lists(st.integers(0, 6000), max_size=6),
    st.sampled_from([PLAIN, OF_ALL_LETTERS]),
)
def test_a_stream_in_any_pieces_is_cleaned_as_its_lines(
    planted: list[str], broken: list[tuple[bytes, int]], cuts: list[int], plain: bytes
) -> None:
    """Words in any case, with what is no text inside them, wherever the stream is cut: each line is as if it came alone."""
    raw = [text.encode() for text in planted]
    for number, (some, place) in enumerate(broken):
        text = raw[number % len(raw)]
        raw[number % len(raw)] = text[: place % (len(text) + 1)] + some + text[place % (len(text) + 1) :]
    lines = [line for text in raw for line in (*[PLAIN] * 7, text, plain)]
    stream = b"".join(line + b"\n" for line in lines)
    redactor, splitter, found = Redactor([KNOWN]), LineSplitter(), list[bytes]()
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for begin, end in itertools.pairwise(places):
        if (block := splitter.take_block(stream[begin:end])) is not None:
            found.append(clean_block(redactor, block))
        else:
            found += [clean_block(redactor, line + b"\n") for line in splitter.feed(stream[begin:end])]
    expected = "".join(redactor.line(decode(line.removesuffix(b"\r"))) + "\n" for line in lines)
    assert b"".join(found).decode() == expected


def test_lines_without_a_secret_cost_less_than_one_by_one(redactor: Redactor) -> None:
    """A flood is cleaned several times as fast as line by line."""
    lines = [PLAIN] * 600

    def took(work: object) -> float:
        assert callable(work)
        began = time.thread_time()
        work(redactor, lines)
        return time.thread_time() - began

    assert 3 * min(took(clean_lines) for _ in range(5)) < min(took(one_by_one) for _ in range(5))


@given(line)
def test_one_of_many_is_cleaned_as_any_other(text: str) -> None:
    """The pattern of what a line may hold alone finds what the pattern of all places does."""
    redactor = Redactor([KNOWN])
    text = decode(text.encode("utf-8", "replace"))
    assert redactor.line(text, one_of_many=True) == redactor.line(text)


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
def test_a_secret_across_chunks_is_hidden(redactor: Redactor, planted: str) -> None:
    """Wherever one chunk of a stream ends and the next begins, a secret is cleaned as a part of its whole line."""
    stream = b"".join(line + b"\n" for line in [*[PLAIN] * 10, planted.encode(), *[PLAIN] * 10])
    whole = one_by_one(redactor, stream.splitlines())
    begin = stream.index(planted.encode())
    for cut in range(begin - 1, begin + len(planted.encode()) + 2):
        splitter = LineSplitter()
        blocks = [block for chunk in (stream[:cut], stream[cut:]) if (block := splitter.take_block(chunk)) is not None]
        assert b"".join(clean_block(redactor, block) for block in blocks).decode() == whole + "\n"


@pytest.mark.parametrize("functions", ["of the C library", "of Python"])
def test_search_finds_what_bytes_find(functions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words and characters are found where they stand, and from where the search begins; what is not there is not found."""
    if functions == "of Python":
        monkeypatch.setattr(search, "_functions", lambda: (None, None))
    data = b"one token, two tokens\n" * 3
    block = Searched(data)
    for start in range(len(data) + 1):
        for word in (b"token", b"o", b"two tokens\n", b"Token", b"tokenz"):
            assert block.find(word, start) == data.find(word, start)
        assert block.find_any(b",\n", start) == min(
            (at for at in (data.find(b",", start), data.find(b"\n", start)) if at >= 0), default=-1
        )
    assert Searched(b"ab\0cd").find_any(b"x") == 2
    assert Searched(b"").find_any(b"x") == -1
