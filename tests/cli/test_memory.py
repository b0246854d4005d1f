"""A run of weeks does not keep what its start needed: memory and libraries."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cli.home import Home, Started
from tests.cli.test_lab import running
from tests.support.origin import serving

from prx.app import memory

NOT_FOR_A_QUIET_TUNNEL = {
    "pydantic",
    "pydantic_core",
    "dns",
    "idna",
    "importlib.metadata",
    "zipfile",
    "csv",
    "email",
    "html",
    "http",
    "http.client",
    "http.server",
    "psutil",
    "difflib",
    "shutil",
    "tempfile",
    "random",
    "secrets",
    "lzma",
    "encodings.idna",
    "unicodedata",
    "rich",
    "segno",
    "httpx2",
    "cryptography",
    "keyring",
    "jwt",
    "h2",
    "aioquic",
    "capnp",
    "wsproto",
    "brotli",
    "sqlite3",
    "multiprocessing",
    "unittest",
    "xml",
    "prx.lab.edge",
    "prx.lab.connector.app",
    "prx.lab.protocol.h2.session",
    "prx.doctor",
    "prx.traffic",
    "prx.systemd",
    "prx.app.hello_page",
    "prx.ui.live",
    "prx.app.local_service",
    "prx.secrets.store",
    "prx.config.render",
    "prx.config.reference",
    "prx.core.incidents",
    "prx.history.recorder",
    "prx.runtime.hooks.chosen",
    "prx.runtime.hooks.web",
}
# Each module costs a third of a millisecond and 15 KiB, each class that `dataclass` compiles wholly half a millisecond. What is
# new here is worth that to every user, or is imported when it is needed.
MODULES = 259  # of prx

_SCRIPT = """
import gc, sys
import prx.cli

prx.cli.main(sys.argv[1:])
gc.collect()  # of what is not set aside
gc.unfreeze()
found = [kind for kind in gc.get_objects() if isinstance(kind, type)]
names = [f"{kind.__module__}.{kind.__qualname__}" for kind in found]
print("dropped", *(name for name in set(names) if names.count(name) > 1 and name.startswith("prx.")), file=sys.stderr)
classes = [kind for kind in gc.get_objects() if isinstance(kind, type) and kind.__module__.startswith("prx.")]
def is_inherited(kind):  # that with slots is another class than the one that was written
    return "__prx_parts__" in vars(getattr(sys.modules[kind.__module__], kind.__name__))

frozen = [kind for kind in classes if "__dataclass_params__" in vars(kind) and kind.__dataclass_params__.frozen]
compiled = [f"{kind.__module__}.{kind.__name__}" for kind in frozen if not is_inherited(kind)]
assert frozen
print("compiled", *compiled, file=sys.stderr)
print("modules", *sys.modules, file=sys.stderr)
"""
_FILL = """
import ctypes
from prx.app.memory import return_free_memory

def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
blocks = [libc.malloc(60_000) for _ in range(800)]
for block in blocks:
    libc.memset(block, 1, 60_000)
for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
    libc.free(block)
before = resident()
return_free_memory()
print(before - resident())
"""


_RETURN_CODE = """
import hashlib, ssl
from prx.app.memory import return_free_memory

def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4096

return_free_memory()  # all but what the next line uses
context = ssl.create_default_context(cafile=None)
ciphers, digest = context.get_ciphers(), hashlib.sha3_256(b"a").digest()
before = resident()
return_free_memory()
print(before - resident())
assert context.get_ciphers() == ciphers
assert hashlib.sha3_256(b"a").digest() == digest
assert ssl.create_default_context().get_ciphers() == ciphers
"""


def test_a_verified_tunnel_idles_without_what_it_does_not_use(home: Home) -> None:
    """After its URL is verified `prx start` has loaded no schema library, DNS library, mail parser, screen or server.

    Nor has it compiled methods of frozen data classes, which could have inherited them, or loaded more modules than it did, or
    kept the class without slots from which `dataclass` makes one with them.
    """
    config = home.folder / "prx.toml"
    config.write_text("[history]\nkeep_days = 0\n")
    with serving() as origin, running(home) as (facts, _):
        command = [sys.executable, "-c", _SCRIPT, "start", str(origin.port), "-c", str(config), f"--lab={facts['control']}"]
        process = subprocess.Popen(
            command,
            env=home.environ,
            cwd=home.folder,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started = Started(process)
        home.started.append(started)
        started.url()
        assert home.run("stop").returncode == 0
        assert started.end() == 0
    modules = set(started.talk[-1].split())
    assert "prx.runtime.tunnel" in modules
    assert sorted(NOT_FOR_A_QUIET_TUNNEL & modules) == []
    assert started.talk[-2].split() == ["compiled"]
    dropped = started.talk[-3].split()
    assert dropped[0] == "dropped"
    assert len(dropped[1:]) <= 3  # of 160: another thread imports, too, and what it makes at that moment is set aside
    assert len([name for name in modules if name.split(".")[0] == "prx"]) <= MODULES


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library has no malloc_trim")
def test_free_memory_goes_back_to_the_system() -> None:
    """48 MB that were allocated and freed again below a block that stays are not resident any more."""
    done = subprocess.run([sys.executable, "-c", _FILL], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40 * 1024 * 1024


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="this system does not say what is mapped")
def test_code_that_only_a_start_ran_goes_back_to_the_system() -> None:
    """Pages of libraries are not resident any more; what they do is done as before, and what was written into them is kept."""
    done = subprocess.run([sys.executable, "-c", _RETURN_CODE], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 1024 * 1024


def test_without_proc_code_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system does not say what is mapped, nothing is returned and nothing fails."""
    asked: list[object] = []

    def refuse(_: object) -> bytes:
        asked.append(_)
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_bytes", refuse)
    try:
        memory.return_free_memory()
    finally:
        gc.unfreeze()
    assert len(asked) == (hasattr(ctypes.CDLL(None), "madvise"))


def part(
    where: str, *, mode: str = "r--p", inode: int = 26723, rss: int = 4, own: int = 0, huge: int = 0, swap: int = 0
) -> str:
    """Return a mapping as the kernel shows it, without the lines that are not read."""
    return (
        f"{where} {mode} 00001000 fe:00 {inode}                      /usr/lib/libz.so.1\nSize:  40 kB\nRss:  {rss} kB\n"
        f"Anonymous:  {own} kB\nShared_Hugetlb:  0 kB\nPrivate_Hugetlb:  {huge} kB\nSwap:  {swap} kB\nVmFlags: rd mr mw me \n"
    )


WRITTEN = part("c000-d000", mode="rw-p", own=4)
PARTS = {
    "read": (part("a000-c000"), True),
    "run": (part("a000-c000", mode="r-xp"), True),
    "written before it was locked": (part("a000-c000", own=4), False),
    "written, and swapped out since": (part("a000-c000", swap=4), False),
    "written, and partly swapped out since": (part("a000-c000", own=4, swap=4), False),
    "in huge pages, which are not counted as others": (part("a000-c000", huge=2048), False),
    "not counted, as by qemu-user": (part("a000-c000", rss=0), False),
    "can be written": (part("a000-c000", mode="rw-p"), False),
    "shared with others": (part("a000-c000", mode="r--s"), False),
    "of no file": (part("a000-c000", inode=0), False),
    "of a library that is mapped as a whole, and not yet in parts": (part("a000-c000", inode=1), False),
    "of a file of data": (part("a000-c000", inode=1).replace("libz.so.1", "locale/C.utf8/LC_CTYPE"), True),
}


@pytest.mark.parametrize("what", PARTS)
def test_only_what_is_as_its_file_is_dropped(what: str) -> None:
    """A page that differs from its file, or that may differ before it is dropped, would be lost, and prx with it."""
    text, is_dropped = PARTS[what]
    assert list(memory.unchanged(f"{text}{WRITTEN}".encode())) == ([(0xA000, 0xC000)] if is_dropped else [])


def test_the_last_part_of_a_file_is_never_dropped() -> None:
    """While a library is loaded, its last part so far is where the linker lays the parts over that it writes into."""
    whole = part("a000-c000")
    assert list(memory.unchanged(whole.encode())) == []
    assert list(memory.unchanged(f"{part('9000-a000')}{whole}".encode())) == [(0x9000, 0xA000)]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library knows neither call (musl, macOS), nothing is done and nothing fails."""
    memory._of_c_library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    try:
        memory.use_one_arena()
        memory.return_free_memory()
    finally:
        memory._of_c_library.cache_clear()
        gc.unfreeze()


def test_what_a_block_of_imports_drops_is_not_set_aside() -> None:
    """A class with slots is made from one without, which is a cycle: it is gone once the outermost block is over."""
    with memory.no_collection():
        with memory.no_collection():
            whole: type[Any] = dataclass(type("Whole", (), {"__annotations__": {"size": int}}))
            made, first = dataclass(slots=True)(whole), weakref.ref(whole)
            del whole
        assert first() is not None
    try:
        assert made(3).size == 3
        assert first() is None
    finally:
        gc.unfreeze()


def test_nothing_is_collected_while_modules_are_imported() -> None:
    """The collector is on again afterwards, also if an import fails, and leaves alone what the block has made."""
    gc.unfreeze()
    try:
        with suppress(ImportError), memory.no_collection():
            collected = gc.isenabled()
            raise ImportError
        assert (collected, gc.isenabled()) == (False, True)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_command_is_imported_without_a_collection() -> None:
    """Neither click and the table of commands, nor the command itself, is traversed while it is imported."""
    count = "[kind['collections'] for kind in gc.get_stats()]"
    script = f"import gc, sys, prx.cli; before = {count}; prx.cli.main(['start', '--help']); print(before, {count}, sep=';')"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(2):  # the first one compiles what has changed
        done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    before, after = (json.loads(counts) for counts in done.stdout.splitlines()[-1].split(";"))
    assert after[1:] == before[1:]
    assert after[0] - before[0] <= 8  # 21 with the collector on; one behind each part that is imported


def test_what_has_come_up_is_not_looked_through_again() -> None:
    """The collector of cycles passes over what existed once prx was up, and still frees what is dropped of it."""
    kept = [[number] for number in range(1000)]
    before = gc.get_freeze_count()
    try:
        memory.freeze_objects()
        frozen = gc.get_freeze_count()
        del kept
        assert before + 1000 <= frozen
        assert gc.get_freeze_count() <= frozen - 1000
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("few", [True, False])
def test_a_thorough_return_finds_cycles_of_what_was_set_aside(monkeypatch: pytest.MonkeyPatch, *, few: bool) -> None:
    """What was alive when all had come up, and was dropped later, is found by it alone; what is left is set aside again.

    Only if those are few: the event loop stands still meanwhile.
    """
    monkeypatch.setattr(memory, "FEW", sys.maxsize if few else 0)

    class Held:
        def __init__(self) -> None:
            self.itself = self

    held = Held()
    gone = weakref.ref(held)
    memory.freeze_objects()
    try:
        del held
        memory.return_heap()
        assert gone() is not None
        memory.return_heap(thorough=True)
        assert (gone() is None) is few
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_long_collection_is_the_last_that_traverses_what_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What outlives it is set aside, a bounded number of times; a short one, and a younger generation, change nothing."""
    monkeypatch.setattr(memory, "LONG_PAUSE", 0.0)
    before = gc.get_freeze_count()
    kept = [[number] for number in range(1000)]
    try:
        with memory.short_pauses():
            gc.collect(1)
            assert gc.get_freeze_count() <= before  # what was set aside may be dropped meanwhile
            gc.collect()
            assert gc.get_freeze_count() >= before + len(kept)
            for _ in range(memory.AT_MOST):
                gc.collect()
            bound = gc.get_freeze_count()
            more = [[number] for number in range(1000)]
            gc.collect()
            assert gc.get_freeze_count() <= bound
            assert more
        monkeypatch.setattr(memory, "LONG_PAUSE", 60.0)
        gc.unfreeze()
        with memory.short_pauses():
            gc.collect()
        assert gc.get_freeze_count() == 0
    finally:
        gc.unfreeze()
