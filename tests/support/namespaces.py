"""What tests need that mount file systems for themselves alone."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def can_mount() -> bool:
    """Return whether this user may mount something in a namespace of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    mount = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


NEEDS_MOUNTS = pytest.mark.skipif(not can_mount(), reason="needs root, and mounts in a namespace of its own")
