"""Walk to a file, folder by folder, and note the facts that `prx.files.rule` judges.

Each folder is opened by its name in the folder before it, and what is noted is what the open descriptor says. So nothing can be
exchanged between the check and the use: to do that takes the right to write a folder on the way, and that is what the rule
refuses. The file itself is held by a descriptor that can only name it, and is read through that: replacing the file meanwhile,
as prx does itself, changes nothing for this reader. Links are followed here, not by the kernel. Nothing is opened
before its kind is known: opening a FIFO may wait forever, and opening a device may do anything.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from prx.files.errors import FileRefusedError
from prx.files.rule import Part, Way

_PATH_ONLY: Final = getattr(os, "O_PATH", os.O_RDONLY)  # Linux: a folder that may only be passed through can be opened too
_CAN_HOLD: Final = os.O_RDONLY != _PATH_ONLY  # Linux: a descriptor that opens nothing, of anything at all
_HOLD: Final = _PATH_ONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER: Final = _PATH_ONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MOST_LINKS: Final = 40  # as the kernel: path_resolution(7)
_WALKS: Final = 3  # at most, while links lead to nothing: they may be turned just then, as Kubernetes does for a Secret
_ACL: Final = "system.posix_acl_access"
_OCTAL: Final = re.compile(r"\\([0-7]{3})")  # how proc(5) writes a space, a tab, a newline and a backslash
_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def kind_of(mode: int) -> str:
    """Name the kind of what is no regular file; empty for one."""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "")


class Walked:
    """Where a walk has ended: `way`, and the file itself, to be opened."""

    def __init__(self, way: Way, folder: int, name: str, asked: str, held: int = -1) -> None:
        """`held`: a descriptor of the file, made with O_PATH; negative if there is none."""
        self.way = way
        self._folder, self._name, self._asked, self._held = folder, name, asked, held

    def require_file(self) -> Part:
        """Return the facts of the file; raise FileNotFoundError if there is none, FileRefusedError for another kind."""
        if self.way.file is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._asked)
        if kind := kind_of(self.way.file.mode):
            raise FileRefusedError(self._asked, f"found {kind}, expected a file")
        return self.way.file

    def open(self) -> int:
        """Open the regular file for reading, without waiting; the caller closes the descriptor.

        Raises what `require_file` does, and OSError if it is not ours to read.
        """
        file = self.require_file()
        if self._held >= 0:
            with suppress(OSError):  # without /proc it is opened by its name; what is not ours to read is refused there, too
                return os.open(f"/proc/self/fd/{self._held}", _READ & ~os.O_NOFOLLOW)
        flags = _READ if self.way.folders else _READ & ~os.O_NOFOLLOW
        descriptor = os.open(self._name, flags, dir_fd=self._folder)
        if file.identity == _identity(os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)
        raise FileRefusedError(self._asked, "was exchanged while it was opened", hint="try again")


@contextmanager
def walked(path: str | os.PathLike[str]) -> Iterator[Walked]:
    """Walk to `path`, and yield where that has ended, for the length of a block.

    Raises OSError if a folder on the way is missing or closed to us.
    """
    walker, found = _arrive(os.fspath(path))
    try:
        yield found
    finally:
        walker.close()


def _arrive(asked: str) -> tuple[_Walker, Walked]:
    for walks_left in reversed(range(_WALKS)):
        walker = _Walker(asked)
        try:
            found = walker.walk()
        except OSError as error:
            walker.close()
            if not (isinstance(error, FileNotFoundError) and walker.links and walks_left):
                raise
            continue
        if found.way.file is not None or not (walker.links and walks_left):
            return walker, found
        walker.close()
    raise AssertionError  # the last walk returns or raises


class _Walker:
    def __init__(self, asked: str) -> None:
        self._asked = asked
        whole = asked if asked.startswith("/") else f"{os.getcwd()}/{asked}"  # noqa: PTH109 - text: nothing is made tidy here
        self._todo = deque(whole.split("/"))
        self._followed = 0
        self._held = -1
        self.links: list[tuple[Part, Part]] = []
        self._to_root()

    def _to_root(self) -> None:
        old = getattr(self, "folder", -1)
        self.folder = os.open("/", _FOLDER)
        if old >= 0:
            os.close(old)
        self._names: list[str] = []
        # the folders of a way that was left through a link stay on the list: they can turn the link elsewhere
        self._folders = [*getattr(self, "_folders", []), _part(self.folder, "/")]

    def close(self) -> None:
        for descriptor in (self.folder, self._held):
            if descriptor >= 0:
                os.close(descriptor)

    def walk(self) -> Walked:
        while self._todo:
            name = self._todo.popleft()
            if name in {"", "."}:
                continue
            facts = _facts(name, self.folder)
            if facts is None:
                if any(rest not in {"", "."} for rest in self._todo):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._asked)
                return self._end(name, None)
            if stat.S_ISLNK(facts.st_mode):
                if self._is_descriptor(facts) and not any(self._todo):
                    return self._handed_over(name)
                self._follow(name)
            elif stat.S_ISDIR(facts.st_mode):
                self._enter(name)
            elif any(self._todo):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._asked)
            else:
                return self._end(name, self._hold(name))
        return self._end(".", self._folders[-1])

    def _end(self, name: str, file: Part | None) -> Walked:
        return Walked(Way(tuple(self._folders), tuple(self.links), file), self.folder, name, self._asked, self._held)

    def _handed_over(self, name: str) -> Walked:
        """End at an open file of this process, /proc/self/fd/N: it has no way of its own."""
        facts = os.stat(name, dir_fd=self.folder)
        way = Way((), (), _plain_part(facts, self._asked))
        return Walked(way, self.folder, name, self._asked)

    def _is_descriptor(self, facts: os.stat_result) -> bool:
        try:
            return facts.st_dev == os.stat("/proc/self/fd").st_dev and self._names[-1:] == ["fd"]  # noqa: PTH116 - a text, as all names here
        except OSError:
            return False

    def _enter(self, name: str) -> None:
        inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self.folder)
        os.close(self.folder)
        self.folder = inner
        if name == "..":
            del self._names[-1:]
        else:
            self._names.append(name)
        self._folders.append(_part(inner, self._shown()))

    def _follow(self, name: str) -> None:
        self._followed += 1
        if self._followed > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._asked)
        self.links.append((self._part_at(name), self._folders[-1]))
        target = os.readlink(name, dir_fd=self.folder)
        if target.startswith("/"):
            self._to_root()
        self._todo.extendleft(reversed(target.split("/")))

    def _part_at(self, name: str) -> Part:
        shown = self._shown(name)
        if not _CAN_HOLD:
            return _plain_part(os.stat(name, dir_fd=self.folder, follow_symlinks=False), shown)
        descriptor = os.open(name, _HOLD, dir_fd=self.folder)
        try:
            return _part(descriptor, shown)
        finally:
            os.close(descriptor)

    def _hold(self, name: str) -> Part:
        """Return the facts of the file at the end, and keep what they were read from."""
        if not _CAN_HOLD:
            return self._part_at(name)
        self._held = os.open(name, _HOLD, dir_fd=self.folder)
        return _part(self._held, self._shown(name))

    def _shown(self, name: str = "") -> str:
        return "/" + "/".join([*self._names, name] if name else self._names)


def _facts(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _part(descriptor: int, path: str) -> Part:
    facts = os.fstat(descriptor)
    read_only, acl = False, False
    with suppress(OSError):  # not every file system says
        read_only = bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)
    if facts.st_mode & stat.S_IWGRP and not stat.S_ISLNK(facts.st_mode):
        acl = _has_acl(descriptor)
    return _plain_part(facts, path, read_only=read_only, acl=acl)


def _plain_part(facts: os.stat_result, path: str, *, read_only: bool = False, acl: bool = False) -> Part:
    return Part(path, facts.st_uid, facts.st_gid, facts.st_mode, facts.st_nlink, read_only, acl, _identity(facts))


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _has_acl(descriptor: int) -> bool:
    """Return whether an access list (acl(5)) stands behind the mode; the group's bits are then the most that it gives."""
    try:
        return bool(os.getxattr(f"/proc/self/fd/{descriptor}", _ACL))
    except (OSError, AttributeError):  # none, or not here
        return False


def file_system_of(path: str | os.PathLike[str], mounts: str | None = None) -> str:
    """Return the type of the file system that `path` lies on, such as "9p" (drvfs of WSL); empty if that is not known.

    mounts: the text of /proc/self/mountinfo (proc(5)), if it is known already.
    """
    try:
        where = os.path.realpath(path)
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape") if mounts is None else mounts
    except OSError:
        return ""
    best, found = "", ""
    for line in text.splitlines():
        mount, _, rest = line.partition(" - ")
        fields = mount.split(" ")
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]) if len(fields) > 4 else ""
        if point and len(point) >= len(best) and (where == point or where.startswith(point.rstrip("/") + "/")):
            best, found = point, rest.partition(" ")[0]
    return found
