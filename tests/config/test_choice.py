"""What a tunnel is called: as a file says, as `--name` says, or by the port that it serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from prx.app.load_config import ConfigurationReader
from prx.core.errors import UsageError


def names(reader: ConfigurationReader) -> list[str]:
    """Return the names of the tunnels as a start has them."""
    return list(reader.read().config.tunnels)


def starting(folder: Path, local_addr: str = "", *, name: str = "", otherwise: str | None = "") -> ConfigurationReader:
    """Return the reader of a `prx start` whose user has a configuration of their own in `folder`."""
    environ = {"XDG_CONFIG_HOME": str(folder)}
    return ConfigurationReader(None, environ, local_addr, name=name, otherwise=otherwise)


def write(folder: Path, text: str) -> Path:
    """Write the user's own configuration."""
    file = folder / "prx" / "config.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("local_addr", "name"),
    [("", "8080"), ("3000", "3000"), ("192.168.1.5:81", "81"), ("https://shop.test", "443"), ("[::1]:9", "9")],
)
def test_the_port_is_the_name(tmp_path: Path, local_addr: str, name: str) -> None:
    """A tunnel that no file declares is called by its port, however the address is written, and so at each reload."""
    made = starting(tmp_path, local_addr)
    assert names(made) == names(made) == [name]


def test_other_names(tmp_path: Path) -> None:
    """`--name` wins, the hello page has a name of its own, and commands that start nothing keep to the schema's name."""
    assert names(starting(tmp_path, "3000", name="shop")) == ["shop"]
    assert names(starting(tmp_path, "127.0.0.1:41731", otherwise="hello")) == ["hello"]
    assert names(starting(tmp_path, "3000", otherwise=None)) == ["default"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[tunnel]\n", "default"),
        ("[tunnel.cloudflare]\nprotocol = 'http2'\n", "default"),
        ("[tunnels.web]\n", "web"),
        ("[history]\nkeep_days = 1\n", "3000"),
        ("", "3000"),
    ],
)
def test_a_file_that_declares_a_tunnel_names_it(tmp_path: Path, text: str, name: str) -> None:
    """`[tunnel]` stays `default`; a file without a tunnel names none."""
    write(tmp_path, text)
    assert names(starting(tmp_path, "" if "tunnels" in text else "3000")) == [name]


def test_a_name_beside_a_file(tmp_path: Path) -> None:
    """`--name` is refused only if the file declares tunnels."""
    write(tmp_path, "[history]\nkeep_days = 1\n")
    assert names(starting(tmp_path, "3000", name="shop")) == ["shop"]
    write(tmp_path, "[tunnel]\n")
    with pytest.raises(UsageError, match="declares some"):
        starting(tmp_path, "3000", name="shop").read()


def test_a_reload_keeps_the_name(tmp_path: Path) -> None:
    """A file that declares the same tunnel later does not make another one of it: a quick tunnel would lose its URL."""
    file = write(tmp_path, "[history]\nkeep_days = 1\n")
    made = starting(tmp_path, "3000")
    assert names(made) == ["3000"]
    file.write_text("[tunnel]\nmax_failures = 5\n")
    assert names(made) == names(made) == ["3000"]
    file.write_text("[tunnel]\nmax_failures = 5\n[tunnels.web]\n")
    assert sorted(names(made)) == ["default", "web"]
