"""`tunnel ingress validate` and `tunnel ingress rule`, with this connector and with the real one."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.lab.connector.child import run

RULES = """\
ingress:
- {hostname: a.test, path: login, service: "https://localhost:8000"}
- {hostname: "*.a.test", service: "ssh://localhost:22"}
- {service: "http_status:404"}
"""


async def ask(command: Sequence[str], tmp_path: Path, text: str, *words: str) -> tuple[int, str, str]:
    """Ask about a file with this content; give exit code, stdout and stderr."""
    path = tmp_path / "config.yml"
    path.write_text(text)
    return await run(["tunnel", "--config", str(path), "ingress", *words], tmp_path, command=command)


async def test_validate(command: Sequence[str], tmp_path: Path) -> None:
    """Rules that can be used are said to be."""
    code, out, _ = await ask(command, tmp_path, RULES, "validate")
    assert (code, out) == (0, f"Validating rules from {tmp_path / 'config.yml'}\nOK\n")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.test/login", "Matched rule #0\n\thostname: a.test\n\tpath: login\n\tservice: https://localhost:8000\n"),
        ("http://b.a.test", "Matched rule #1\n\thostname: *.a.test\n\tservice: ssh://localhost:22\n"),
        ("https://a.test/", "Matched rule #2\n\tservice: http_status:404\n"),
        ("https://a.test:8443/login", "Matched rule #0\n"),
    ],
)
async def test_rule(command: Sequence[str], tmp_path: Path, url: str, shown: str) -> None:
    """The rule that a URL meets is shown with its number."""
    code, out, err = await ask(command, tmp_path, RULES, "rule", url)
    assert code == 0, err
    assert out.startswith(f"Using rules from {tmp_path / 'config.yml'}\n{shown}")


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("ingress:\n- {hostname: a, service: http://a}\n", ("validate",), "The last ingress rule must match all URLs"),
        ("ingress:\n- {service: http://a/path}\n", ("validate",), "don't support proxying to a different path"),
        ("tunnel: x\n", ("validate",), "doesn't contain any ingress rules"),
        (RULES, ("rule",), "expects a single argument"),
        (RULES, ("rule", "a.test"), "doesn't have a hostname, consider adding a scheme"),
    ],
)
async def test_refused(command: Sequence[str], tmp_path: Path, text: str, words: tuple[str, ...], said: str) -> None:
    """What cannot be used or asked is an error, said on stderr."""
    code, _, err = await ask(command, tmp_path, text, *words)
    assert code != 0
    assert said in err
