"""Files that prx reads, runs and writes: whose they may be, how they are opened, and how they are replaced.

`rule` decides, from facts alone, whether what lies at a path may be used; `walk` gathers these facts through open descriptors;
`reading` and `programs` put the two together; `replace` writes. Standard library only, so that every other room can use it.
"""

from __future__ import annotations

from prx.files.errors import FileRefusedError
from prx.files.rule import Claim

__all__ = ["Claim", "FileRefusedError"]
