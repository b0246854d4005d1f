"""Start a child so that it gets exactly what it should have, and dies with prx.

Theory of operation
-------------------
* Session and group: `setsid`, so that the terminal's Ctrl-C never reaches the child and the whole group can be killed.
* Death of prx: the kernel sends the child SIGKILL when the *thread* that started it ends (PR_SET_PDEATHSIG, prctl(2)), so
  only the main thread may spawn. If setpriv(1) of util-linux is on PATH it sets this (about 1.3 ms more per start);
  elsewhere the forked child does it itself before exec (a fork copies page tables: 2 ms, more in a large process). The
  setting does not survive a setuid or file-capability program: for those, and for other systems than Linux, the ledger of
  `prx.runtime.process.orphans` finds the child at the next start.
* setpriv would pass a file that the kernel refuses to /bin/sh, as execvp(3) does, and it reports no errno. So it is used
  only for files that are plainly runnable; for all others the fork path lets the kernel report what is wrong.
* The secret: a pipe, of which the child inherits the read end and opens it by path. Once read it is empty, so no process, not
  even the same user through /proc/PID/fd, can read it again; a memfd would stay readable as long as the child lives. It
  is written after the start: should prx die in the moment before the kernel knows about the parent's death, the
  child finds an empty secret and ends by itself.
* Core dumps are off in the child (soft limit 0, inherited over exec), because its memory holds the secret.
* stdin is /dev/null, or if the launch asks for it a pipe that is never written to: dev servers end when their stdin does. prx
  alone holds the other end, so the pipe ends with prx. Not the terminal's own stdin: a server that sets it to raw mode, as
  those with keyboard shortcuts do, would take Ctrl-C from prx.
* Every descriptor but stdin, the two log pipes and the secret is closed; the environment is the given one.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from prx.core.errors import PrxError
from prx.core.launch import Launch
from prx.core.shortage import FOR_NOW, lack_of
from prx.core.value import Value, value_class
from prx.files.search import which
from prx.runtime.process.pipes import LOG_PIPE, set_pipe_size

_PR_SET_PDEATHSIG = 1  # prctl(2)
_SECRET_LIMIT = 4096  # one page: fits into any pipe, even if the user's pipe quota is used up
_LOWEST_SECRET_FD = 3  # 0, 1 and 2 are replaced in the child

_PERMANENT = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.EISDIR, errno.ENOTDIR}
    | {errno.ELOOP, errno.ENAMETOOLONG, errno.E2BIG, errno.EINVAL}
)
_HINTS = {
    errno.ENOENT: "install it, or set the path to it",
    errno.EACCES: "make it executable: chmod +x",
    errno.EISDIR: "name the program itself, not its folder",
    errno.ENOEXEC: "it is damaged or made for another kind of machine: install it again",
} | {number: lack.hint for number, lack in FOR_NOW.items()}


class SpawnError(PrxError):
    """A child could not be started; `permanent`: another try cannot help without a change from outside.

    `for_now`: the machine lacks something, and nothing is wrong with what was to be started.
    """

    def __init__(self, message: str, *, hint: str = "", number: int = 0, for_now: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.errno = number
        self.permanent = number in _PERMANENT
        self.for_now = for_now or number in FOR_NOW

    @classmethod
    def of(cls, error: OSError, what: str) -> SpawnError:
        """Return the error that says `what` failed, and the remedy that goes with its number."""
        number = error.errno or 0
        return cls(f"{what}: {error.strerror or type(error).__name__}", hint=_HINTS.get(number, ""), number=number)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Spawned(Value):
    """Hold a fresh child: its pid, the file that it runs, and the non-blocking read ends of its two log pipes.

    `stdin` is the write end of its stdin, -1 if that is /dev/null. `arguments` are what it was started with, without the
    program. `client`: see `Launch`.
    """

    pid: int
    exe: str
    stdout: int
    stderr: int
    stdin: int = -1
    arguments: tuple[str, ...] = ()
    client: str = ""

    def close(self) -> None:
        """Close the three descriptors."""
        for fd in {self.stdin, self.stdout, self.stderr} - {-1}:
            os.close(fd)


def spawn(launch: Launch) -> Spawned:
    """Start `launch` in its own session; the caller owns the descriptors and collects the exit status.

    Raises SpawnError (nothing is left behind), and RuntimeError off the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("children are started from the main thread: their life is tied to the thread's")
    if launch.secret is not None and len(launch.secret) > _SECRET_LIMIT:
        size = len(launch.secret)
        raise SpawnError(f"the secret has {size} bytes, expected at most {_SECRET_LIMIT}", number=errno.E2BIG)
    program = find_program(launch)
    try:
        return _spawn(program, launch)
    except SpawnError:
        raise
    except OSError as error:
        raise _explain(program, launch, error) from error
    except (MemoryError, subprocess.SubprocessError) as error:
        raise SpawnError(_message(launch.argv[0], errno.ENOMEM), hint=_HINTS[errno.ENOMEM], number=errno.ENOMEM) from error
    except ValueError as error:  # a NUL byte in an argument or variable; the error names neither
        raise SpawnError(f"cannot start '{launch.argv[0]}': {error}", number=errno.EINVAL) from error


def find_program(launch: Launch) -> str:
    """Return the absolute path of the program of `launch`, or raise SpawnError if there is none."""
    name = launch.argv[0]
    if os.sep in name:
        return _check_file(os.path.abspath(name), name)  # noqa: PTH100 - Path.resolve would follow links
    search = launch.env.get("PATH") or os.environ.get("PATH") or os.defpath
    found = which(name, path=search)
    if found is None:
        folders = [folder for folder in search.split(os.pathsep) if folder]
        raise SpawnError(
            f"cannot start '{name}': not found in PATH (looked in {len(folders)} folders)",
            hint=_HINTS[errno.ENOENT],
            number=errno.ENOENT,
        )
    return os.path.abspath(found)  # noqa: PTH100 - as above


def _check_file(path: str, name: str) -> str:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a bad disk (EIO, ESTALE) is not a file that is missing
        number = errno.EISDIR if stat.S_ISDIR(mode) else 0 if os.access(path, os.X_OK) else errno.EACCES
    except OSError as error:
        number = error.errno or errno.EIO
    except ValueError:  # a NUL byte in the path
        number = errno.ENOENT
    if number:
        raise SpawnError(_message(name, number), hint=_HINTS.get(number, ""), number=number)
    return path


def _message(name: str, number: int) -> str:
    return f"cannot start '{name}': {os.strerror(number)}"


def _explain(program: str, launch: Launch, error: OSError) -> SpawnError:
    number = error.errno or 0
    if launch.cwd is not None and not launch.cwd.is_dir():
        return SpawnError(
            f"cannot start '{launch.argv[0]}' in the folder {launch.cwd}: {os.strerror(errno.ENOENT)}",
            hint="create the folder",
            number=errno.ENOENT,
        )
    if number == errno.ENOENT and (interpreter := _interpreter_in_words(program)):  # the program itself is there
        message = f"cannot start '{launch.argv[0]}': its first line names the interpreter {interpreter}, which is not there"
        return SpawnError(message, hint=_HINTS[errno.ENOEXEC], number=errno.ENOEXEC)
    return SpawnError(_message(launch.argv[0], number), hint=_HINTS.get(number, ""), number=number)


def _spawn(program: str, launch: Launch) -> Spawned:
    with ExitStack() as cleanup, ExitStack() as on_failure:
        out_read, out_write = _log_pipe(on_failure, cleanup)
        err_read, err_write = _log_pipe(on_failure, cleanup)
        secret_read, secret_write = _secret_pipe(cleanup) if launch.secret is not None else (-1, -1)
        stdin, stdin_write = _stdin_pipe(on_failure, cleanup) if launch.open_stdin else (subprocess.DEVNULL, -1)
        secret_path = f"/dev/fd/{secret_read}"
        arguments = launch.arguments(secret_path)[1:]
        argv = [program, *arguments]
        interpreter = _interpreter(program)
        setpriv = _setpriv() if _plainly_runnable(program, interpreter) else None
        if setpriv is not None:
            argv = [setpriv, "--pdeathsig", "KILL", "--", *argv]
        with _no_core_dumps():
            child = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=out_write,
                stderr=err_write,
                env=dict(launch.env),
                cwd=launch.cwd,
                pass_fds=[secret_read] if secret_read >= 0 else [],
                start_new_session=True,
                # only if setpriv cannot be used; it calls nothing but two system calls (see _die_with)
                preexec_fn=None if setpriv else _die_with(os.getpid()),  # noqa: PLW1509
            )
        on_failure.callback(_undo, child)
        if launch.secret is not None:
            os.write(secret_write, launch.secret)  # cannot block or fall short: less than a page, into an empty pipe
        # the status is collected through the pidfd; without this Popen would warn that it was not
        child.returncode = 0
        on_failure.pop_all()
        return Spawned(child.pid, _running_exe(program, interpreter), out_read, err_read, stdin_write, arguments, launch.client)


def _log_pipe(on_failure: ExitStack, cleanup: ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    on_failure.callback(os.close, read)
    cleanup.callback(os.close, write)
    os.set_blocking(read, False)
    set_pipe_size(read, LOG_PIPE)
    return read, write


def _undo(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def _stdin_pipe(on_failure: ExitStack, cleanup: ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    on_failure.callback(os.close, write)
    cleanup.callback(os.close, read)
    return read, write


def _secret_pipe(cleanup: ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    cleanup.callback(os.close, write)
    try:
        safe = fcntl.fcntl(read, fcntl.F_DUPFD_CLOEXEC, _LOWEST_SECRET_FD)
    finally:
        os.close(read)
    cleanup.callback(os.close, safe)
    return safe, write


@contextmanager
def _no_core_dumps() -> Iterator[None]:
    """Lower the soft limit for the moment in which the child inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    except (OSError, ValueError) as error:  # says nothing of the program, so it is not forever
        raise SpawnError(f"cannot turn core dumps off for a child: {error}") from error
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@functools.cache  # what is raised is not kept
def _setpriv() -> str | None:
    """Return the path of a setpriv that knows --pdeathsig (that of BusyBox does not), tried once.

    OSError if it cannot be tried for now.
    """
    path = which("setpriv") if sys.platform == "linux" else None
    if path is None:
        return None
    try:
        trial = subprocess.run(
            [path, "--pdeathsig", "KILL", "--", path, "--version"], env={}, capture_output=True, check=False, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        if lack_of(error):
            raise
        return None
    return path if trial.returncode == 0 else None


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _die_with(parent: int) -> Callable[[], None] | None:
    """Return what the forked child runs before exec: tie its life to `parent`, which may be dead already."""
    if sys.platform != "linux":
        return None
    prctl = _libc().prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie


def _head(path: str, size: int) -> bytes:
    """Return the first bytes of a file, none if it cannot be read; OSError if it cannot be read for now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not keep us waiting
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - by descriptor
            return file.read(size) or b""
    except OSError as error:
        if lack_of(error):
            raise
        return b""


def _interpreter(path: str) -> str:
    """Return the interpreter that a script's first line names, "" for anything else."""
    head = _head(path, 256)
    words = head[2:].split(b"\n", 1)[0].split(maxsplit=1) if head.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""


def _interpreter_in_words(path: str) -> str:
    try:
        return _interpreter(path)
    except OSError:
        return ""


def _plainly_runnable(path: str, interpreter: str) -> bool:
    """Return whether the kernel will surely run this file: made for this machine, or a script with an interpreter."""
    return os.access(interpreter, os.X_OK) if interpreter else _elf_kind(path) == _own_elf_kind() != b""


def _elf_kind(path: str) -> bytes:
    """Return class, byte order and machine of an ELF file (bytes 4–5 and 18–19, elf(5)); b"" for other files."""
    head = _head(path, 20)
    return head[4:6] + head[18:20] if len(head) == 20 and head.startswith(b"\x7fELF") else b""


@functools.cache
def _own_elf_kind() -> bytes:
    return _elf_kind("/proc/self/exe")


def _running_exe(program: str, interpreter: str) -> str:
    """Return what /proc/PID/exe will show for `program`; "" if a script makes that hard to predict."""
    try:
        return "" if interpreter else os.path.realpath(program)
    except OSError:
        return ""
