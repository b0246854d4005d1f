"""Take an asset from a file of this machine, within the same bounds as a download, and hash it on the way."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final

from prx.core.errors import PrxError, UsageError, refused
from prx.files import FileRefusedError
from prx.files.walk import walked
from prx.install.fetch import Bounds, Fetched, Progress

_CHUNK: Final = 1 << 20  # bytes


def copy_from_file(path: Path, sink: BinaryIO, *, bounds: Bounds, progress: Progress) -> Fetched:
    """Write what the regular file `path` holds into `sink`.

    Raise UsageError if there is no such file or it is of another kind, PrxError if it cannot be read or is too large, OSError
    if `sink` cannot be written.
    """
    descriptor = _open(path)
    with open(descriptor, "rb") as source:  # noqa: PTH123 - by descriptor
        expected = os.fstat(descriptor).st_size
        digest, size = hashlib.sha256(), 0
        progress(size, expected)
        while chunk := _read(source, path):
            size += len(chunk)
            if max(size, expected) > bounds.size:
                raise PrxError(
                    f"{path} has {max(size, expected)} bytes, expected at most {bounds.size}: this is no cloudflared"
                )
            digest.update(chunk)
            sink.write(chunk)
            progress(size, expected)
    return Fetched(size, digest.hexdigest(), str(path))


def _open(path: Path) -> int:
    try:
        with walked(path) as found:
            return found.open()
    except FileNotFoundError as error:
        raise UsageError(f"{path} is not there", hint="--from takes a file, or a URL that starts with https://") from error
    except FileRefusedError as error:
        raise UsageError(error.message, hint="--from takes the file itself, as it was published") from error
    except OSError as error:
        raise refused(f"{path} cannot be read: {(error.strerror or str(error)).lower()}", error, kind=PrxError) from error


def _read(source: BinaryIO, path: Path) -> bytes:
    try:
        return source.read(_CHUNK)
    except OSError as error:
        raise refused(f"{path} cannot be read: {(error.strerror or str(error)).lower()}", error, kind=PrxError) from error
