"""The secret type keeps its value to itself."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import pprint
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.secrets import Secret

CANARY = "canary-5ecr3t-value"


@dataclasses.dataclass
class Settings:
    token: Secret


def renderings(secret: Secret) -> list[str]:
    """Render it in every way that a careless line of code might."""
    record = logging.LogRecord("x", logging.INFO, "f", 1, "token %s %r", (secret, secret), None)
    try:
        int(secret)  # type: ignore[call-overload]
    except TypeError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    return [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{secret:.3}",
        "%s" % secret,  # noqa: UP031 - one of the ways
        str([secret]),
        str(Settings(secret)),
        pprint.pformat({"token": secret}),
        json.dumps({"token": secret}, default=str),
        json.dumps(dataclasses.asdict(Settings(secret)), default=repr),
        logging.Formatter().format(record),
        shown,
    ]


def test_no_rendering_shows_the_value() -> None:
    """A secret that is printed, formatted, logged or shown in a traceback does not appear."""
    for text in renderings(Secret(CANARY)):
        assert CANARY not in text
        assert CANARY[:6] not in text


@given(st.text(st.characters(categories=["L", "N"]), min_size=12))
def test_no_value_is_rendered(value: str) -> None:
    """The promise holds whatever the value is."""
    secret = Secret(value)
    assert {str(secret), repr(secret), f"{secret}", f"{secret:>9}"} == {"<secret>"}
    assert secret.reveal() == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_cannot_be_pickled(protocol: int) -> None:
    """No pickle, and so no queue to another process or cache on disk, carries a secret."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret(CANARY), protocol)


def test_json_refuses_it() -> None:
    """A plain json.dumps fails rather than writes."""
    with pytest.raises(TypeError):
        json.dumps(Secret(CANARY))


def test_a_copy_is_the_same_object() -> None:
    """Copying makes no second value in memory."""
    secret = Secret(CANARY)
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": [secret]})["a"][0] is secret


def test_it_cannot_be_taken_apart() -> None:
    """Iteration, membership, length, indexing, vars and assignment all fail."""
    secret = Secret(CANARY)
    attempts: tuple[Callable[[Any], object], ...] = (
        list,
        len,
        vars,
        lambda it: "c" in it,
        lambda it: it[0],
        lambda it: setattr(it, "_value", b""),
        bytes,
    )
    for attempt in attempts:
        with pytest.raises((TypeError, AttributeError)):
            attempt(secret)
    with pytest.raises(AttributeError):
        del secret._value


def test_equality_is_between_secrets_only() -> None:
    """Equal values are equal; a plain string never is; hashes agree with that."""
    assert Secret("ä") == Secret("ä".encode())
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret(b"a"), Secret("b")}) == 2


def test_it_is_true_unless_empty() -> None:
    """`if settings.token:` asks whether there is one."""
    assert Secret("x")
    assert not Secret("")


def test_fingerprint_is_the_beginning_of_the_sha256() -> None:
    """Two tokens can be distinguished in a log by 8 hex digits (FIPS 180-4's example for "abc")."""
    assert Secret("abc").fingerprint == "ba7816bf"


@pytest.mark.parametrize("value", [b"\xff" + CANARY.encode(), CANARY + "\udcff"])
def test_a_value_that_is_no_text_is_refused_without_showing_it(value: str | bytes) -> None:
    """The error for undecodable bytes neither quotes them nor chains an error that does."""
    with pytest.raises(ValueError, match="UTF-8") as caught:
        Secret(value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_importing_it_is_cheap() -> None:
    """The type loads no third-party module into a process."""
    code = "import sys, prx.secrets; print([m for m in ('cryptography', 'keyring', 'pydantic', 'click') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout.strip() == "[]"
