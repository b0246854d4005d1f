"""Tokens: every defect is named, the harmless ones are repaired, and nothing of the content is ever shown."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.backends.cloudflare.token import read_token, secret_forms
from prx.backends.cloudflare.version import Version
from prx.core.errors import PermanentError
from prx.secrets.value import Secret

TUNNEL_ID = "0a1b2c3d-0000-4000-8000-00000000beef"
INNER = base64.b64encode(bytes([251, 255, 190] * 10 + [1, 2])).decode()


def token(**changes: object) -> str:
    """Return a token with some of its parts changed; None leaves a part out."""
    parts = {"a": "0123456789abcdef", "t": TUNNEL_ID, "s": INNER, "x": "~~~???>>>~"} | changes
    return base64.b64encode(json.dumps({k: v for k, v in parts.items() if v is not None}).encode()).decode()


def read(text: str) -> str:
    """Return what the child would get."""
    return read_token(Secret(text)).text


GOOD = token()


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\n",
        f'"{GOOD}"',
        GOOD.rstrip("="),
        GOOD.replace("+", "-").replace("/", "_"),
        GOOD[:70] + "\n" + GOOD[70:140] + "\r\n   " + GOOD[140:],
        f"{GOOD}\n{GOOD}\n",
        f"sudo cloudflared service install {GOOD}",
        f"cloudflared.exe service install {GOOD}",
        f"docker run cloudflare/cloudflared:latest tunnel --no-autoupdate run --token {GOOD}",
        f"cloudflared tunnel run --token={GOOD}",
    ],
)
def test_harmless_forms_are_mended(text: str) -> None:
    """White space, quotes, pasted commands, lost padding and the other alphabet all give the canonical token."""
    assert read(text) == GOOD
    assert read_token(Secret(text)).tunnel_id == TUNNEL_ID


def test_the_example_needs_mending() -> None:
    """The token of these tests has padding and both letters in which the alphabets differ, so the cases above can fail."""
    assert GOOD.endswith("=")
    assert "+" in GOOD or "/" in GOOD


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("???", "not of the base64 alphabet"),
        ("my-token", "not of JSON"),
        (GOOD[:41], "cut off"),
        (base64.b64encode(b"[1, 2]").decode(), "JSON array"),
        (base64.b64encode(b"hello there").decode(), "not of JSON"),
        (token(a=None), r"account tag \('a'\) is missing"),
        (token(t=None), r"tunnel id \('t'\) is missing"),
        (token(s=None), r"secret \('s'\) is missing"),
        (token(s=""), r"secret \('s'\) is missing"),
        (token(t="12"), "not a UUID"),
        (token(t=7), "JSON number"),
        (token(s="%%%"), "not base64"),
        (f"{GOOD} {token(a='another')}", "2 different tokens"),
        (f"cloudflared service install {GOOD} {token(a='another')}", "2 different tokens"),
        ("cloudflared service install", "no token"),
        ('{"AccountTag":"0123","TunnelSecret":"abc","TunnelID":"def"}', "credentials file"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "JWT"),
        ("cfat_" + "a" * 40, "API token"),
        (" cfut_" + "0aZ_-" * 8 + "\n", "API token"),
        ("Q3RlbXBvcmFyeS0xMjM0NTY3ODkwLWFiY2RlZm-_", "API token"),
        ("cfk_" + "b" * 40, "global API key"),
        ("cfast_" + "c" * 40, "client secret of a service token"),
        ("9f" * 32, "client secret of a service token"),
        ("88bf3b6d86161464f6509f7219099e57.access", "client ID of a service token"),
        (TUNNEL_ID, "an id, such as that of the tunnel"),
        ("'023E105F4ECEF8AD9CA31A8372D0C353'", "an id, such as that of the tunnel"),
        (GOOD[:40], "not of JSON"),  # as long as an API token, and yet the beginning of a tunnel's
    ],
)
def test_each_defect_is_named_without_the_content(text: str, defect: str) -> None:
    """The message says what is wrong, the hint where to get a good one, and neither shows what was found."""
    with pytest.raises(PermanentError, match=defect) as caught:
        read(text)
    shown = f"{caught.value.message} {caught.value.hint}"
    assert "dashboard" in caught.value.hint
    assert not any(word[:8] in shown for word in text.split() if word.startswith("eyJ") and len(word) > 8)
    assert caught.value.__cause__ is None


def test_every_form_is_known_to_the_redactor() -> None:
    """The canonical text, the text as written, and the tunnel's secret inside it must all be hidden."""
    forms = secret_forms(Secret(f" {GOOD.rstrip('=')} "))
    assert set(forms) == {GOOD, GOOD.rstrip("="), INNER}
    assert secret_forms(Secret("not-a-token")) == ("not-a-token",)
    assert secret_forms(Secret("")) == ()


def test_a_token_shows_nothing_of_itself() -> None:
    """Printing what was read shows the tunnel's id and no secret."""
    shown = repr(read_token(Secret(GOOD)))
    assert TUNNEL_ID in shown
    assert GOOD not in shown
    assert INNER not in shown


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever stands there gives a token or a PermanentError that does not quote it."""
    message = ""
    try:
        read_token(Secret(text))
    except PermanentError as error:
        message = error.message
    # words with spaces between them are the message's own: no token has any
    assert len(text) < 12 or " " in text.strip() or text not in message


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("cloudflared version 2026.8.2 (built 2026-08-14-1200 UTC)", Version(2026, 8, 2)),
        ("cloudflared version 2026.8.2 (built x)\n", Version(2026, 8, 2)),
        ("2025.4.0", Version(2025, 4, 0)),
        ("cloudflared version 2024.12.2-1-gabcdef (built y)", Version(2024, 12, 2)),
        ("cloudflared version DEV (built unknown)", None),
        ("1.2.3", None),
        ("", None),
    ],
)
def test_versions_are_found_in_what_it_prints(text: str, version: Version | None) -> None:
    """The release is read from the line of `cloudflared version`; anything else is unknown, never an error."""
    assert Version.parse(text) == version


def test_versions_are_ordered_as_numbers() -> None:
    """October comes after September."""
    assert Version(2025, 10, 0) > Version(2025, 9, 9) > Version(2024, 12, 30)
    assert str(Version(2025, 10, 0)) == "2025.10.0"
