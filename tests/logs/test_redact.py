"""No secret passes the redactor, in whatever notation a line shows it."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.logs.lines import CUT_MARKER
from prx.logs.redact import MARK, Redactor

S = "s3cr3t+v/lue=="
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
TOKEN = base64.b64encode(json.dumps({"a": "0" * 32, "t": "1" * 36, "s": "2" * 44}).encode()).decode()
DATA = Path(__file__).parents[1] / "data" / "cloudflared-2026.8.2"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('h={"Authorization":["Bearer §"],"X":["1"]} a=b', 'h={"Authorization":["MARK"],"X":["1"]} a=b'),
        ('h={"Cookie":["a=§","b=\\"§\\""],"X":["1"]}', 'h={"Cookie":["MARK"],"X":["1"]}'),
        ('h={"Cf-Access-Client-Secret":["§"]}', 'h={"Cf-Access-Client-Secret":["MARK"]}'),
        ('{"headers":{"Set-Cookie":["x=§]"]},"m":"ok"}', '{"headers":{"Set-Cookie":["MARK"]},"m":"ok"}'),
        ('{"m":"Authorization: Bearer §","n":1}', '{"m":"Authorization: MARK","n":1}'),
        (r'{"m":"{\"cookie\":[\"§\"],\"x\":1}"}', r'{"m":"{\"cookie\":[\"MARK\"],\"x\":1}"}'),
        (r'{"m":"\"cookie\":\"a\\\"§\",\"x\":1"}', r'{"m":"\"cookie\":\"MARK\",\"x\":1"}'),
        ("map[Authorization:[Bearer §] Host:[a.test]]", "map[Authorization:[MARK] Host:[a.test]]"),
        ("map[Cookie:[a=[§] b=§] Host:[a]]", "map[Cookie:[MARK] Host:[a]]"),
        ("Cookie: a=§; b=§", "Cookie: MARK"),
        ("proxy-authorization = Basic §", "proxy-authorization = MARK"),
        ('Cf-Access-Jwt-Assertion="§" x=1', 'Cf-Access-Jwt-Assertion="MARK" x=1'),
        ('{"X-Api-Key": "§", "y": 2}', '{"X-Api-Key": "MARK", "y": 2}'),
        ("see CF_Authorization=§; path=/", "see CF_Authorization=MARK; path=/"),
        ("TUNNEL_TOKEN=§ x", "TUNNEL_TOKEN=MARK x"),
        ("env CF_ACCESS_CLIENT_SECRET:§ x", "env CF_ACCESS_CLIENT_SECRET:MARK x"),
        ("tunnel run --token § --x", "tunnel run --token MARK --x"),
        ("GET /a?access_token=§&b=1 HTTP", "GET /a?access_token=MARK&b=1 HTTP"),
        ("to https://user:§@host/x", "to https://user:MARK@host/x"),
        (f"jwt {JWT} end", "jwt MARK end"),
        (f"token {TOKEN} end", "token MARK end"),
        ('{"h":[["a","b"],["authorization", "Bearer §"],["c","d"]]}', '{"h":[["a","b"],["authorization", "MARK"],["c","d"]]}'),
        ("[('Cookie', 'a=§; b=§'), ('x', 'y')]", "[('Cookie', 'MARK'), ('x', 'y')]"),
        ("[(b'set-cookie', b'a=§'), (b'x', b'y')]", "[(b'set-cookie', b'MARK'), (b'x', b'y')]"),
        (r'{"m":"[[\"x-api-key\",\"§\"]]","n":1}', r'{"m":"[[\"x-api-key\",\"MARK\"]]","n":1}'),
        (
            '{"name": "Cf-Access-Client-Secret", "value": "§", "x": 1}',
            '{"name": "Cf-Access-Client-Secret", "value": "MARK", "x": 1}',
        ),
        ('cut {"Authorization":["Bearer §', 'cut {"Authorization":["MARK"'),
    ],
)
def test_places(line: str, expected: str) -> None:
    """A secret in a known place vanishes; the rest of the line stays readable, and JSON stays JSON."""
    line, expected = line.replace("§", "s3cr3t-value"), expected.replace("MARK", MARK)
    found = Redactor().line(line)
    assert "s3cr3t" not in found
    assert found == expected
    if line.startswith("{"):
        json.loads(found)


@pytest.mark.parametrize("line", ['{"name":"Cookie","httpOnly":true}', 'allow "authorization", content-type', '["Cookie", 1]'])
def test_a_name_alone_hides_nothing(line: str) -> None:
    """What only names a header, as a list of allowed ones does, stays as it is."""
    assert Redactor().line(line) == line


SHORT = ("key", "code", "sig", "auth", "sid", "otp", "jwt", "pwd")
LONG = (
    "token",
    "api_key",
    "apikey",
    "secret",
    "password",
    "passwd",
    "signature",
    "assertion",
    "hmac",
    "session",
    "ticket",
    "credential",
)


@pytest.mark.parametrize("begin", ["?", "&x_", "#Y-", ";", "?user[", "&a.b%5B"])
@pytest.mark.parametrize("name", SHORT + LONG)
@pytest.mark.parametrize("end", ["=", "]=", "%5D=", "%5d]="])
def test_each_parameter(begin: str, name: str, end: str) -> None:
    """A parameter that holds a secret is known alone and, if its name is long, as a part of another, in either case."""
    line = f"GET /{begin}{name}{end}0123456789abcdef HTTP/1.1"
    hidden = f"GET /{begin}{name}{end}{MARK} HTTP/1.1"
    if name in LONG or not begin.endswith(("[", "B")):
        assert Redactor().line(line) == hidden
        assert Redactor().line(line.upper()) == hidden.upper().replace(MARK.upper(), MARK)


@pytest.mark.parametrize("letters", ["\u017f", "\u0131\u212a", "\u0130\u017f\u212a", "S\u017f"])
@pytest.mark.parametrize(
    "line",
    [
        "GET /?{secret}=0123456789abcdef HTTP/1.1",
        "GET /?x_{passwd}%5D=0123456789abcdef HTTP/1.1",
        "{cookie}: 0123456789abcdef",
        '"{x-auth-key}": "0123456789abcdef"',
        "{client_secret}=0123456789abcdef",
        "{authorization}: Basic 0123456789abcdef",
        "{access secret}: 0123456789abcdef0123456789abcdef01234567",
        "GET /?{signature}=0123456789abcdef HTTP/1.1",
    ],
)
def test_a_name_in_other_letters_is_hidden_as_one_in_ascii(line: str, letters: str) -> None:
    """What ignoring case takes for the letters of a name makes no line clean, in one line and in many."""
    others = {"\u017f": "s", "S": "s", "\u0131": "i", "\u0130": "i", "\u212a": "k"}
    name = line[line.index("{") + 1 : line.index("}")]
    plain = line.replace(f"{{{name}}}", name)
    for letter in letters:
        written = line.replace(f"{{{name}}}", name.replace(others[letter], letter))
        hidden = Redactor().line(plain).replace(name, name.replace(others[letter], letter))
        assert "0123456789abcdef" not in hidden
        assert Redactor().line(written) == hidden
        assert Redactor().text(f"a line\n{written}") == f"a line\n{hidden}"


FORMS = {
    "raw": S,
    "url": quote(S, safe=""),
    "url lower": quote(S, safe="").lower(),
    "base64": base64.b64encode(S.encode()).decode(),
    "base64 url": base64.urlsafe_b64encode(S.encode()).decode().rstrip("="),
    "json": json.dumps(S)[1:-1],
}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_known_values(form: str) -> None:
    """A value that prx knows vanishes in every usual encoding."""
    assert Redactor([S]).line(f"before {FORMS[form]} after") == f"before {MARK} after"


@pytest.mark.parametrize(
    ("secret", "written"),
    [
        ('pa`ss"w0rd', r"pa\u0060ss\u0022w0rd"),
        ("p\u00e4ssw\u00f6rd", r"p\u00E4ssw\u00F6rd"),
        ("key \U0001f511 of it", r"key \uD83D\uDD11 of it"),
        ("back\\slash+plus\tand'more'", r"back\\slash\u002Bplus\tand\u0027more\u0027"),
        ("a <b> & c", r"a \u003Cb\u003E \u0026 c"),
    ],
)
def test_a_known_value_in_the_json_of_dotnet(secret: str, written: str) -> None:
    """System.Text.Json writes signs of HTML, and all that is not ASCII, as numbers with capital letters."""
    assert Redactor([secret]).line(f'{{"value":"{written}"}}') == f'{{"value":"{MARK}"}}'


@pytest.mark.parametrize(
    ("encoder", "written"),
    [
        ("Go", r"p\u0026s+w/rd='ü'"),
        ("Gson", r"p\u0026s+w/rd\u003d\u0027ü\u0027"),
        ("PHP", r"p\u0026s+w\/rd=\u0027\u00fc\u0027"),
        ("Jackson, ASCII alone", r"p&s+w/rd='\u00FC'"),
        ("Python", r"p&s+w/rd='\u00fc'"),
        ("System.Text.Json", r"p\u0026s\u002Bw/rd=\u0027\u00FC\u0027"),
        ("as it is", "p&s+w/rd='ü'"),
    ],
)
def test_a_known_value_in_the_json_of_each_encoder(encoder: str, written: str) -> None:
    """Each writes other signs as numbers, and a value may hold several of them."""
    assert json.loads(f'"{written}"') == "p&s+w/rd='ü'"
    assert Redactor(["p&s+w/rd='ü'"]).line(f'{{"value":"{written}"}}') == f'{{"value":"{MARK}"}}'


@given(st.text(min_size=4, max_size=60).filter(lambda text: len(text.strip()) >= 4 and len(text.splitlines()) == 1))
def test_whatever_form_of_a_value_is_looked_for(secret: str) -> None:
    """What is looked for first stands in each form: none is passed over."""
    redactor = Redactor([secret])
    for form in redactor._forms:
        assert any(needle in form for needle in redactor._shortest)
        assert any(needle in form.encode("utf-8", "surrogateescape") for needle in redactor.needles)


@pytest.mark.parametrize("prefix", ["u:", "us:", "usr:"])
def test_known_value_inside_base64(prefix: str) -> None:
    """A known value vanishes from the middle of a longer base64 text too, as in Basic authentication."""
    text = base64.b64encode((prefix + "hunter2-hunter2" + "!").encode()).decode()
    found = Redactor(["hunter2-hunter2"]).line(text)
    assert MARK in found
    rest = found.replace(MARK, "")
    assert len(rest) <= len(text) - 18


def test_cut_line_hides_the_beginning_of_a_secret() -> None:
    """Where a line was cut inside a secret, its first part vanishes too."""
    redactor = Redactor(["known-secret-value"])
    assert redactor.line(f"x known-secr{CUT_MARKER}") == f"x {MARK}{CUT_MARKER}"
    assert redactor.line(f"x eyJhIjoi{CUT_MARKER}") == f"x {MARK}{CUT_MARKER}"
    assert redactor.line(f"x ordinary{CUT_MARKER}") == f"x ordinary{CUT_MARKER}"


def test_short_and_multiline_values() -> None:
    """A value too short to be distinguished from text is not learnt, and each line of a longer one counts."""
    redactor = Redactor()
    assert not redactor.add("abc")
    assert redactor.add("-----BEGIN-----\nMIIEvQIBADANBg\n")
    assert redactor.line("abc MIIEvQIBADANBg") == f"abc {MARK}"


def test_real_debug_log() -> None:
    """Of a real debug log only the header's value changes; every other line stays as it was."""
    text = (DATA / "debug_request.console.log").read_text(encoding="utf-8")
    redacted = [Redactor().line(line) for line in text.splitlines()]
    changed = [(old, new) for old, new in zip(text.splitlines(), redacted, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0][0].replace('"Bearer secret"', f'"{MARK}"') == changed[0][1]
