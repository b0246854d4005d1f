"""The sealed file: what opens it, and what each kind of damage is called."""

from __future__ import annotations

import base64
import hashlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.core.errors import PrxError
from prx.secrets.crypto import DEFAULT_COST, Cost, Envelope, KeySpec, seal, stretch
from prx.secrets.errors import DamagedFileError, SecretError, WrongKeyError

KEY = bytes(range(32))
SPEC = KeySpec(keyring_id="abc")
PLAIN = b"the plain text of the secrets"


def checksummed(content: bytes) -> bytes:
    """Repair the checksum after altering a file, as an attacker would."""
    return content[:-32] + hashlib.sha256(content[:-32]).digest()


def test_what_is_sealed_opens_again() -> None:
    """The same key gives the same content, and the header says which key."""
    envelope = Envelope.parse(seal(PLAIN, SPEC, KEY))
    assert envelope.spec == SPEC
    assert envelope.open(KEY) == PLAIN


def test_nothing_of_the_content_shows() -> None:
    """The sealed file holds no plain text, and sealing twice gives different bytes."""
    one, two = seal(PLAIN, SPEC, KEY), seal(PLAIN, SPEC, KEY)
    assert PLAIN[:8] not in one
    assert one != two


def test_a_wrong_key_is_told_from_damage() -> None:
    """A whole file under another key is a wrong key, not a broken file."""
    with pytest.raises(WrongKeyError):
        Envelope.parse(seal(PLAIN, SPEC, KEY)).open(os.urandom(32))


@given(st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject) -> None:
    """One bit anywhere, header included, and the file is refused as damaged (or as newer), never opened."""
    sealed = bytearray(seal(PLAIN, SPEC, KEY))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SecretError) as caught:
        Envelope.parse(bytes(sealed))
    assert isinstance(caught.value, DamagedFileError) or "newer prx" in caught.value.message


@given(st.data())
def test_any_flipped_bit_under_a_mended_checksum_is_noticed(data: st.DataObject) -> None:
    """A file that is altered on purpose is caught by the tag, header and version included."""
    sealed = bytearray(seal(PLAIN, SPEC, KEY))
    bit = data.draw(st.integers(0, (len(sealed) - 32) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(PrxError):
        Envelope.parse(checksummed(bytes(sealed))).open(KEY)


def test_any_truncation_is_called_so() -> None:
    """Every shorter length is refused as cut short, with the numbers."""
    sealed = seal(PLAIN, SPEC, KEY)
    for length in range(len(sealed)):
        with pytest.raises(DamagedFileError, match=f"cut short: it has {length} "):
            Envelope.parse(sealed[:length])
    with pytest.raises(DamagedFileError, match="checksum"):
        Envelope.parse(sealed + b"x")


def test_a_newer_file_asks_for_a_newer_prx() -> None:
    """Another version number is no damage, whatever follows it."""
    sealed = seal(PLAIN, SPEC, KEY)
    with pytest.raises(SecretError, match="format 2, written by a newer prx") as caught:
        Envelope.parse(sealed[:8] + b"\0\x02" + sealed[10:])
    assert not isinstance(caught.value, DamagedFileError)


@given(st.binary(max_size=300))
def test_garbage_is_refused_without_surprise(content: bytes) -> None:
    """Whatever the file holds, the error is ours."""
    with pytest.raises(SecretError):
        Envelope.parse(content)


@pytest.mark.parametrize(
    "cost",
    [
        {"memory_kib": 64 * 1024 * 1024, "iterations": 3, "lanes": 4},
        {"memory_kib": 65536, "iterations": 10_000, "lanes": 4},
        {"memory_kib": 65536, "iterations": 3, "lanes": 10_000},
        {"memory_kib": 8, "iterations": 1, "lanes": 2},
        {"memory_kib": 65536, "iterations": 0, "lanes": 1},
        {"memory_kib": "65536", "iterations": 1, "lanes": 1},
        {"memory_kib": 65536, "iterations": 1},
    ],
)
def test_a_planted_header_cannot_ask_for_all_memory(cost: dict[str, int]) -> None:
    """Costs beyond reason are refused before any key is derived."""
    header = json.dumps({"key": "argon2id", "salt": base64.b64encode(bytes(16)).decode(), **cost}).encode()
    with pytest.raises(ValueError, match=r"header|key that is known"):
        KeySpec.from_json(header)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_an_odd_header_is_a_value_error(fields: object) -> None:
    """Whatever JSON a header holds, it is read or refused, never a crash."""
    with pytest.raises(ValueError, match=r"header|key that is known"):
        KeySpec.from_json(json.dumps(fields).encode())


def test_a_spec_survives_its_header() -> None:
    """Both kinds of key are read back as they were written."""
    for spec in (SPEC, KeySpec.for_password(DEFAULT_COST), KeySpec.for_password(Cost(8, 1, 1))):
        assert KeySpec.from_json(spec.to_json()) == spec


def test_a_password_and_its_salt_make_the_key() -> None:
    """Same password and salt, same key; another of either, another key; Argon2id's test vector is the library's business."""
    spec, other = KeySpec.for_password(Cost(8, 1, 1)), KeySpec.for_password(Cost(8, 1, 1))
    assert stretch("päss", spec) == stretch("päss", spec)
    assert len({stretch("päss", spec), stretch("pass", spec), stretch("päss", other)}) == 3


def test_the_default_cost_is_that_of_rfc_9106() -> None:
    """Guessing cannot be made cheaper unnoticed."""
    assert (DEFAULT_COST.memory_kib, DEFAULT_COST.iterations, DEFAULT_COST.lanes) == (65536, 3, 4)
