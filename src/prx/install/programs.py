"""The folder of installed programs: `bin` in the data directory.

    cloudflared            symbolic link to the version in use, replaced in one step
    cloudflared.previous   symbolic link to the version in use before; `rollback` changes the two
    cloudflared-VERSION    the programs, mode 0755, each complete and verified since it has this name
    .partial-*             what is being downloaded, mode 0600; swept by the next install when prx was killed over it
    .lock                  held while something is installed

The folder has mode 0700. Standard library only: `prx start` looks here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import site
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import prx
from prx.config.paths import data_dir, ensure_private_dir
from prx.core.errors import PrxError
from prx.core.value import Value, value_class
from prx.files import FileRefusedError
from prx.files.people import expanded
from prx.files.recent import Recent
from prx.files.replace import sync_folder
from prx.files.search import which
from prx.files.walk import walked

NAME: Final = "cloudflared"
HINT: Final = "install it with `prx install cloudflared`"
_PREVIOUS: Final = f"{NAME}.previous"
_PARTIAL: Final = ".partial-"
_CONNECTOR: Final = "prx.lab.connector"
# What version managers read beside HOME. No flag of cloudflared has such a name: those begin with TUNNEL_.
_WRAPPER_NEEDS: Final = {"HOME", "USER", "LOGNAME", "SHELL", "TMPDIR"}
_WRAPPER_PREFIXES: Final = ("XDG_", "ASDF_", "MISE_", "RTX_", "AQUA_", "PROTO_", "VOLTA_", "SNAP")
_SECRET_NAME: Final = re.compile("TOKEN|SECRET|PASS|KEY|AUTH|CREDENTIAL")
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def programs_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of installed programs, which need not exist."""
    return data_dir(environ) / "bin"


def installed_cloudflared(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the cloudflared that `prx install cloudflared` installed, None if there is none that can be trusted.

    Not trusted is one that another user could have put there or changed: it lies elsewhere, or it or its folder belongs to
    another user or can be written by others.
    """
    link = programs_dir(environ) / NAME
    try:
        program, folder = link.resolve(strict=True), link.parent.resolve(strict=True)
        regular = stat.S_ISREG(program.lstat().st_mode)
        trusted = regular and program.parent == folder and _is_ours(program) and _is_ours(folder)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return None
    return link if trusted and os.access(program, os.X_OK) else None


def find_client(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return where the client program `name` is: in PATH (or at `name`, if that is a path), else as installed by prx."""
    env = os.environ if environ is None else environ
    if name.startswith("~"):
        with suppress(PrxError):  # a home that is not known: the start says what is not there
            name = str(expanded(name, env))
    found = which(name, path=env.get("PATH", os.defpath))
    if found is None and name == NAME and (installed := installed_cloudflared(environ)):
        return str(installed)
    return found


def builtin_connector() -> tuple[str, ...]:
    """Return the argv prefix that runs the connector that comes with prx; `needed_environment` lets it be found."""
    # -P: a folder called "prx" where the user happens to stand must not be taken for the program
    return (sys.executable, "-P", "-m", _CONNECTOR)


def needed_environment(program: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without which `program` (an argv prefix) cannot even begin; none for an ordinary program.

    The connector that comes with prx is looked for where prx itself was found: in a user's own site-packages or below
    PYTHONPATH, too. A wrapper (a version manager's shim, a script) finds the real program by HOME and by its own variables; of
    those none is passed on whose name says that it holds a secret.
    """
    if _CONNECTOR in program:
        return {"PYTHONPATH": os.pathsep.join(_own_paths()), "PYTHONUSERBASE": site.getuserbase()}
    found = which(program[0], path=environ.get("PATH", os.defpath))
    if found is None or not _is_wrapper(found):
        return {}
    wanted = {name for name in environ if name in _WRAPPER_NEEDS or name.startswith(_WRAPPER_PREFIXES)}
    return {name: environ[name] for name in wanted if not _SECRET_NAME.search(name)}


def is_wrapper(program: str | Path) -> bool:
    """Return whether a program is a script, or a link to one program under many names: it then runs another one."""
    program = Path(program)
    try:
        real = program.resolve(strict=True)
        with walked(real) as found, open(found.open(), "rb") as file:  # noqa: PTH123 - by descriptor
            script = file.read(2) == b"#!"
    except (OSError, FileRefusedError, RuntimeError):  # RuntimeError: a loop of links
        return False
    return script or (NAME in program.name and NAME not in real.name)


_is_wrapper: Final = Recent(is_wrapper)


def _own_paths() -> list[str]:
    """Return where this prx and its libraries are found, in the order in which Python looks there."""
    own = str(Path(prx.__file__).resolve().parent.parent)
    # the first entry is the folder of the script, or that where the user stands, unless Python was asked to leave it out
    paths = sys.path if sys.flags.safe_path else sys.path[1:]
    found = [path for path in paths if path.startswith(os.sep) and os.pathsep not in path]
    return found if own in found else [*found, own]


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Partial(Value):
    """A file that is being written, open, and its path."""

    file: BinaryIO
    path: Path


class Programs:
    """The folder `path`, open for changes; made by `open_programs`, which lets only one process in at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def link(self) -> Path:
        """The name under which the version in use is found."""
        return self.path / NAME

    def file(self, version: str) -> Path:
        """Return where the program of `version` lies, or will."""
        return self.path / f"{NAME}-{version}"

    def holds(self, version: str, sha256: str) -> bool:
        """Return whether the program of `version` is there with exactly this content, and only its owner can change it."""
        try:
            with walked(self.file(version)) as found, open(found.open(), "rb") as file:  # noqa: PTH123 - by descriptor
                facts = os.fstat(file.fileno())
                whole = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except (OSError, FileRefusedError):
            return False
        return whole and stat.S_IMODE(facts.st_mode) == 0o755

    @contextmanager
    def partial(self) -> Iterator[Partial]:
        """Yield a new file to write and read; it is gone after the block, unless `keep` has taken it."""
        import tempfile  # noqa: PLC0415 - 0.5 MiB, for an installation alone

        descriptor, name = tempfile.mkstemp(dir=self.path, prefix=_PARTIAL)
        with open(descriptor, "w+b") as file:  # noqa: PTH123 - by descriptor
            try:
                yield Partial(file, Path(name))
            finally:
                Path(name).unlink(missing_ok=True)

    def keep(self, partial: Partial, version: str) -> None:
        """Make `partial`, which has been verified, the program of `version`, in one step."""
        partial.file.flush()
        os.fchmod(partial.file.fileno(), 0o755)
        os.fsync(partial.file.fileno())
        partial.path.replace(self.file(version))
        sync_folder(self.path)

    def switch(self, version: str) -> None:
        """Put `version` into use and remember the one before; versions older than that are removed."""
        current = self._target(NAME)
        wanted = self.file(version).name
        if current not in {wanted, None}:
            self._point(_PREVIOUS, str(current))
        self._point(NAME, wanted)
        kept = {wanted, self._target(_PREVIOUS)}
        for path in self.path.glob(f"{NAME}-*"):
            if path.name not in kept:
                path.unlink()

    def remove_unused(self, version: str) -> None:
        """Remove the program of `version`, unless it is the one in use, or the one before."""
        if self.file(version).name not in {self._target(NAME), self._target(_PREVIOUS)}:
            self.file(version).unlink(missing_ok=True)

    def rollback(self) -> str:
        """Change the version in use with the one before; return its version. Raise PrxError if there is none before."""
        current, previous = self._target(NAME), self._target(_PREVIOUS)
        if previous in {current, None} or not (self.path / str(previous)).is_file():
            raise PrxError(
                "there is no cloudflared before the present one", hint="rollback follows an install that replaced one"
            )
        self._point(NAME, str(previous))
        if current is not None:
            self._point(_PREVIOUS, current)
        return str(previous).removeprefix(f"{NAME}-")

    def sweep(self) -> None:
        """Remove what a killed install has left."""
        for path in self.path.glob(f"{_PARTIAL}*"):
            path.unlink()

    def _target(self, name: str) -> str | None:
        try:
            return os.readlink(self.path / name)  # noqa: PTH115 - the text of the link, not a path made of it
        except OSError:
            return None

    def _point(self, name: str, target: str) -> None:
        fresh = self.path / f"{_PARTIAL}{name}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(self.path / name)
        sync_folder(self.path)


@contextmanager
def open_programs(path: Path) -> Iterator[Programs]:
    """Create the folder if it is missing, lock it, sweep it, and yield it; raise PrxError while another install runs."""
    ensure_private_dir(path.parent)
    ensure_private_dir(path)
    lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PrxError("another prx installs cloudflared at this moment", hint="wait for it, then try again") from error
        programs = Programs(path)
        programs.sweep()
        yield programs
    finally:
        os.close(lock)


def _is_ours(path: Path) -> bool:
    facts = path.lstat()
    return facts.st_uid in {0, os.geteuid()} and not facts.st_mode & _WRITABLE_BY_OTHERS
