"""Take the one program out of an archive, and nothing else."""

from __future__ import annotations

import shutil
import tarfile
from typing import BinaryIO, Final

from prx.core.errors import PermanentError

MEMBER: Final = "cloudflared"  # the macOS archives hold this one file
_LARGEST: Final = 256 * 1024 * 1024  # bytes
_MEMBERS: Final = 16  # more are not examined


def unpack(archive: BinaryIO, sink: BinaryIO) -> None:
    """Write the member `cloudflared` of a gzipped tar file into `sink`.

    No name from the archive becomes a path, and neither owner, mode nor link is taken over. Raise PermanentError when there
    is no such regular file in it or when it is no archive.
    """
    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as tar:
            for _, member in zip(range(_MEMBERS), tar, strict=False):
                if member.name.removeprefix("./") == MEMBER and member.isreg() and member.size <= _LARGEST:
                    source = tar.extractfile(member)
                    assert source is not None  # only for what is no regular file
                    shutil.copyfileobj(source, sink)
                    return
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the archive's (gzip raises OSError without a number)
        raise PermanentError(f"the archive cannot be read: {error}") from error
    raise PermanentError(f"the archive holds no regular file {MEMBER!r} of at most {_LARGEST} bytes")
