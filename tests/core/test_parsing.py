"""JSON and TOML that are nested as deep as they are long: never a RecursionError, from any writer."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import prx
from prx.access.jwks import parse_keys
from prx.cloudflare_api.oauth import Tokens
from prx.control.messages import decode
from prx.core.captured import Request as Captured
from prx.core.errors import PrxError
from prx.core.parsing import DEEPEST, parse_json, parse_toml
from prx.lab.edge.api.access.front import _from_one_header
from prx.lab.edge.services.endpoint import Request
from prx.lab.edge.tunnel.http2 import _push_answer
from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.headers import from_origin
from prx.logs.records import LogRecord
from prx.secrets.crypto import KeySpec
from prx.secrets.store import _decode
from prx.secrets.value import Secret
from prx.traffic.export import from_har

DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "[" * 3000 + "]" * 3000])
def test_deep_json_is_a_value_error(text: str) -> None:
    """Text and bytes alike, cut off or whole."""
    for content in (text, text.encode()):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(content)


@pytest.mark.parametrize(
    "text",
    [
        f"value = {DEEP}",
        f"[{'.'.join('a' * 3000)}]",  # tomllib reads dotted keys in a loop; who walks the tables does not
        f"[[{'.'.join('a' * 3000)}]]",
        f"{'.'.join('a' * 3000)} = 1",
        f"a = {{ {'.'.join('a' * 3000)} = [1] }}",
        f"{'.'.join('a' * DEEPEST)}.a = 1",
    ],
)
def test_deep_toml_is_a_value_error(text: str) -> None:
    """As a mistake of TOML is, whether brackets or dotted keys nest."""
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_toml(text)


@pytest.mark.parametrize(
    "text", ["9" * 5000, f"value = {'9' * 5000}", f"value = [1, -{'9' * 5000}]", f"a = {{ b = {'9_' * 5000}9 }}"]
)
def test_a_number_of_thousands_of_digits_is_a_value_error(text: str) -> None:
    """Python makes no number of them: that is a mistake of the document like any other, in JSON and in TOML."""
    with pytest.raises(ValueError, match="digits"):
        parse_json(text) if text[0] == "9" else parse_toml(text)
    if text[0] != "9":
        with pytest.raises(tomllib.TOMLDecodeError, match="more than 4300 digits"):
            parse_toml(text)


def test_a_table_as_deep_as_any_may_be_is_read() -> None:
    """The limit is that of depth, not of the number of tables."""
    found: object = parse_toml(f"[{'.'.join('a' * (DEEPEST - 1))}]\n" + "".join(f"[b{number}]\n" for number in range(500)))
    assert isinstance(found, dict)
    assert len(found) == 501


@pytest.mark.parametrize(
    "read",
    [
        lambda: LogRecord.from_json(DEEP),
        lambda: KeySpec.from_json(DEEP.encode()),
        lambda: _decode(DEEP.encode()),
        lambda: parse_keys(DEEP.encode()),
        lambda: Tokens.read(Secret(DEEP)),
        lambda: _push_answer(DEEP.encode()),
        lambda: Request("POST", "/", {}, {}, DEEP.encode()).json(),
        lambda: Captured(1, "POST", "/", None, (), DEEP.encode(), (), b"", {}).json(),
        lambda: decode(DEEP.encode()),
        lambda: from_har(DEEP),
    ],
)
def test_who_reads_it_refuses_it(read: Callable[[], Any]) -> None:
    """A log, a store of secrets, keys, tokens, answers of connectors, requests of visitors or to the lab: refused."""
    with pytest.raises((ValueError, PrxError, StreamError)):
        read()


def test_headers_of_others_mean_nothing() -> None:
    """A visitor's or a connector's header that holds such a text is as one that holds no JSON."""
    assert not from_origin(DEEP.encode())
    assert _from_one_header([(b"authorization", DEEP.encode())], b"authorization") == ([], [])


ALLOWED = {  # what prx has written itself a moment before, or a single quoted key
    "config/positions.py",
    "app/cloudflare/session.py", "core/parsing.py", "lab/edge/api/configurations.py",
    "lab/edge/faults/notation.py", "lab/edge/public/access_keys.py", "runtime/hooks/send_apprise.py", "web/journal.py",
}  # fmt: skip


def test_every_other_reader_expects_it() -> None:
    """No module calls `json.loads` or `tomllib.loads` outside of a `try` that has RecursionError among its exceptions."""
    root = Path(prx.__path__[0])
    found = {
        file.relative_to(root).as_posix()
        for file in root.rglob("*.py")
        if "testing" not in file.parts and "loads(" in (source := file.read_text()) and _unguarded(ast.parse(source))
    }
    assert found <= ALLOWED, found - ALLOWED


def _unguarded(tree: ast.AST) -> bool:
    guarded: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try | ast.With) and "RecursionError" in ast.unparse(node):
            guarded.update(ast.walk(node))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(ast.unparse(call.func) in {"json.loads", "tomllib.loads"} and call not in guarded for call in calls)
