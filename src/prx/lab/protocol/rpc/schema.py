"""The Cap'n Proto schemas, loaded once, and reading and writing their messages safely.

Only the serialisation of pycapnp is used; its event loop and its RPC system are never started. Everything that
leaves this module is plain Python (`dict`, `list`, `str`, `bytes`, `int`, `bool`), so no lazy reader of foreign
bytes survives the call that checked it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from prx.lab.protocol.errors import RpcError
from prx.lab.protocol.rpc.current_folder import leave_unusable_folder
from prx.lab.protocol.rpc.room import require_files, require_room

leave_unusable_folder()
require_room()
import capnp  # noqa: E402 - it must find a current folder, and room

Fields: TypeAlias = Mapping[str, Any]  # the fields of one struct; absent ones are missing, unions hold one entry

capnp.remove_import_hook()
_HOME = Path(capnp.__file__).parent
_IMPORTS = [str(_HOME.parent)]  # the schemas that pycapnp ships import each other as /capnp/….capnp

_RPC_FILE, _TUNNEL_FILE = _HOME / "rpc.capnp", Path(__file__).with_name("tunnelrpc.capnp")
require_files(_RPC_FILE, _TUNNEL_FILE, _HOME / "c++.capnp")
RPC: Any = capnp.load(str(_RPC_FILE), imports=_IMPORTS)
TUNNEL: Any = capnp.load(str(_TUNNEL_FILE), imports=_IMPORTS)


@contextmanager
def reading(struct: Any, message: bytes) -> Iterator[Any]:
    """Return a reader of one whole, unpacked `message` whose root is `struct`.

    The reader may be followed for at most four times the size of the message, so that pointers that overlap cannot
    be used to make much out of little. Anything malformed, in the body of the `with` too, is a RpcError.
    """
    limit = len(message) // 2 + 1024  # in words of eight bytes
    try:
        with struct.from_bytes(message, traversal_limit_in_words=limit) as reader:
            yield reader
    except (capnp.KjException, UnicodeDecodeError, ValueError) as error:
        raise RpcError("a message is not readable Cap'n Proto") from error


def fields(pointer: Any, struct: Any) -> Fields:
    """Copy what an AnyPointer of a reader holds, read as `struct`, into plain Python."""
    content: Fields = pointer.as_struct(struct).to_dict()
    return content
