"""Values that no one means, in every key, from every source: taken, or answered in one line with place and what is expected."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from prx.config.keys import Key, keys_of
from prx.config.load import load
from prx.core.errors import ConfigError

KEYS = list(keys_of())
VALUES = [
    "0x" + "f" * 4000, "-0x" + "f" * 4000, "1" + "0" * 400, "-1", "0", "1e308", "-0.0", "inf", "nan", "true", "1979-05-27",
    "07:32:00",
    "[]", "[[]]", "[[[1]], 'a', {}]", "{}", "{ a = { b = 1 } }", r'"\u0000"', r'"a\nb"', r'"\u001b[31m"', r'"\u202e"',
    '"\\U0001f600"',
    "''", "' '", f"'{'x' * 70_000}'", "'secret:'", "'file:'", "'cmd:'", "'~no-such-user/x'",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=[key.name for key in KEYS])
def test_any_value_of_any_key(tmp_path: Path, key: Key) -> None:
    """In a file: each mistake is one printable line with file and line, that says what is expected."""
    file, table = tmp_path / "prx.toml", ".".join(key.path[:-1])
    for value in VALUES:
        file.write_text(f"{f'[{table}]' if table else ''}\n{key.path[-1]} = {value}\n")
        file.chmod(0o600)
        for problem in _problems(file, {}):
            assert problem.startswith(f"{file}:"), value
            _require_sound(problem)


@pytest.mark.parametrize("key", [key for key in KEYS if key.env], ids=lambda key: key.env)
@pytest.mark.parametrize("value", ["9" * 5000, "\udcff", "a\nb", "\x1b[31m", " ", "x" * 70_000, "[", "-1", "secret:"])
def test_any_value_of_any_variable(key: Key, value: str) -> None:
    """In the environment: each mistake is one printable line that names the variable."""
    for problem in _problems(None, {key.env: value}):
        assert problem.startswith(f"environment variable {key.env}: "), problem
        _require_sound(problem)


@pytest.mark.parametrize("key", [key for key in KEYS if key.is_plain], ids=lambda key: key.name)
@pytest.mark.parametrize("value", ["9" * 5000, "0x" + "f" * 5000, "1\n[tunnel]", "\udcff", "[" * 5000, "nan", ""])
def test_any_variable_for_any_number(tmp_path: Path, key: Key, value: str) -> None:
    """In a variable that a number is taken from: the line names the key in the file, and shows what stands there."""
    file = tmp_path / "prx.toml"
    file.write_text(f"[{'.'.join(key.path[:-1])}]\n{key.path[-1]} = '${{V}}'\n")
    (problem,) = _problems(file, {"V": value})
    assert problem.startswith(f"{file}:2: {key.name}: found ")
    _require_sound(problem)


def _problems(file: Path | None, environ: dict[str, str]) -> tuple[str, ...]:
    try:
        load(file, environ)
    except ConfigError as error:
        return error.problems
    return ()


def _require_sound(problem: str) -> None:
    assert problem.isprintable(), problem
    assert "expected" in problem, problem
    assert "Exceeds" not in problem, problem
    assert len(problem) < 1000, problem


def test_thousands_of_mistakes_take_as_long_as_each_by_itself(tmp_path: Path) -> None:
    """Four times as many mistakes take four times as long to name, not sixteen times."""
    file, seconds = tmp_path / "prx.toml", []
    for count in (2000, 8000):
        file.write_text("[tunnel]\n" + "".join(f"k{number} = 1\n" for number in range(count)))
        began = time.process_time()
        assert len(_problems(file, {})) == count
        seconds.append(time.process_time() - began)
    assert seconds[1] < 8 * seconds[0]
