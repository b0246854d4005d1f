"""Which prx is which: keys of instances and their files."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prx.control.instance import Instance, instance_key, sockets


@settings(deadline=None)  # `Path.resolve` asks the file system
@given(st.text(max_size=200), st.text(max_size=200))
def test_a_key_is_a_plain_file_name(name: str, local_addr: str) -> None:
    """Whatever the configuration is called, the key names a file in the folder and no other place."""
    key = instance_key(Path("/etc") / name.replace("\0", "").replace("/", ""), local_addr)
    assert key == Path(key).name
    assert len(key) <= 51
    assert not key.startswith(".")


def test_same_configuration_same_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file under two names is one configuration; another file, or another address, is another one."""
    file = tmp_path / "prx.toml"
    file.touch()
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    monkeypatch.chdir(tmp_path)
    readable = {instance_key(path, "").rpartition("-")[2] for path in (file, Path("prx.toml"), link)}
    assert len(readable) == 1
    keys = [
        instance_key(file, ""),
        instance_key(file, "127.0.0.1:1"),
        instance_key(None, "127.0.0.1:1"),
        instance_key(None, ""),
    ]
    assert len(set(keys)) == 4


def test_sockets_lists_sockets_only(tmp_path: Path) -> None:
    """Locks and other files in the runtime directory are no running prx; a missing directory holds none."""
    assert sockets(tmp_path / "missing") == []
    instance = Instance(tmp_path, "web")
    instance.lock.touch()
    (tmp_path / "file.sock").touch()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(instance.socket))
    assert sockets(tmp_path) == [instance.socket]


def test_a_socket_that_vanishes_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prx that ends while the folder is read is left out; those that still run are found."""
    staying, ending = Instance(tmp_path, "a").socket, Instance(tmp_path, "b").socket
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.bind(str(staying))
        second.bind(str(ending))
    scan = os.scandir

    def scanned(folder: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        with scan(folder) as items:
            found = list(items)
        ending.unlink()
        return nullcontext(iter(found))

    monkeypatch.setattr("prx.control.instance.os.scandir", scanned)
    assert sockets(tmp_path) == [staying]
