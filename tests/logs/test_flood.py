"""Many raw lines at once are cleaned as each of them would be alone: no secret stays, and nothing else goes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.logs.flood import clean_lines
from prx.logs.redact import MARK, TRIGGERS, Redactor
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
    "guest": "--allowed-mail visitor@example.com",
    "not ASCII": f"é {KNOWN} …",
    "coloured": f"\x1b[31m{KNOWN}\x1b[0m",
    "Kelvin": "TO\u212aEN=0123456789abcdef?to\u212aen=0123456789abcdef",
}


@pytest.fixture
def redactor() -> Redactor:
    """Return a redactor that knows one secret."""
    return Redactor([KNOWN])


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


words = st.sampled_from([*TRIGGERS, *(word.upper() for word in TRIGGERS), KNOWN, TOKEN, *PLANTED.values(), "=", " ", "\t", "é"])
line = st.lists(words | st.text(st.characters(blacklist_characters="\n"), max_size=12), max_size=6).map("".join)


@given(st.lists(line.map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=20), min_size=1, max_size=12))
def test_many_lines_are_cleaned_as_each_alone(lines: list[bytes]) -> None:
    """Whatever they hold: words that give a secret away, other scripts, bytes that are no text."""
    lines = [line.replace(b"\n", b"") for line in lines]
    redactor = Redactor([KNOWN])
    assert clean_lines(redactor, lines) == one_by_one(redactor, lines)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_each_word_is_looked_for(trigger: str) -> None:
    """A word that the quick search did not know would let a line pass as it is."""

    class Asked(Redactor):
        def line(self, text: str) -> str:
            return MARK

    assert clean_lines(Asked(), [PLAIN, f"a {trigger.upper()} b".encode(), PLAIN]).split("\n")[1] == MARK


def test_lines_without_a_secret_cost_less_than_one_by_one(redactor: Redactor) -> None:
    """A flood is cleaned several times as fast as line by line."""
    lines = [PLAIN] * 600

    def took(work: object) -> float:
        assert callable(work)
        began = time.thread_time()
        work(redactor, lines)
        return time.thread_time() - began

    assert 3 * min(took(clean_lines) for _ in range(5)) < min(took(one_by_one) for _ in range(5))
