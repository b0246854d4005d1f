"""Listen on unix sockets, and reach them if the path is longer than the 107 bytes that the kernel's address holds.

Source: unix(7), `sun_path` is 108 bytes with its NUL. A longer path is reached through an open descriptor of its directory,
as /proc/self/fd/N/NAME; without /proc it is refused with a clear message.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prx.core.errors import PermanentError, refused

PATH_LIMIT = 107


@contextmanager
def address(path: Path) -> Iterator[str]:
    """Yield an address that `bind` and `connect` take for `path`, valid inside the block.

    Raises PermanentError if the path is too long and there is no way around it; OSError if its directory is missing.
    """
    if len(os.fsencode(path)) <= PATH_LIMIT:
        yield str(path)
        return
    opened: list[int] = []
    try:
        # Ctrl-C between a call and the assignment of what it returns would lose the descriptor: `extend` has no such moment
        opened.extend(map(os.open, [path.parent], [os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC]))
        short = f"/proc/self/fd/{opened[0]}/{path.name}"
        if not Path(f"/proc/self/fd/{opened[0]}").exists() or len(os.fsencode(short)) > PATH_LIMIT:
            raise PermanentError(
                f"the path of the control socket has {len(os.fsencode(path))} bytes, at most {PATH_LIMIT} are possible: {path}",
                hint="set PRX_DATA_DIR to a shorter directory",
            )
        yield short
    finally:
        for folder in opened:
            os.close(folder)


def listen(path: Path) -> socket.socket:
    """Return a non-blocking socket, mode 0600, that listens on `path`; a socket that lies there is taken for dead and replaced.

    Raises PermanentError if something else lies there, or if nothing can.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise PermanentError(f"{path} is in the way: it is not a socket", hint="remove it, and start again")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    earlier = os.umask(0o177)  # no moment in which others could connect
    try:
        with address(path) as short:
            listening.bind(short)
    except OSError as error:
        listening.close()
        raise refused(
            f"cannot listen on {path}: {error.strerror}", error, hint="set PRX_DATA_DIR to a directory of your own"
        ) from error
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(earlier)
    listening.setblocking(False)
    return listening
