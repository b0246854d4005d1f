"""The files of `deploy/`, and the tools that examine them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
COMPOSE = DEPLOY / "compose" / "compose.yaml"
CONTAINERFILE = DEPLOY / "oci" / "Containerfile"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FAKE_TOKEN = base64.b64encode(
    json.dumps({"a": "0" * 32, "t": "00000000-0000-4000-8000-000000000000", "s": "bm90IGEgc2VjcmV0"}).encode()
).decode()  # of the right form, and of no tunnel
_TOOLS = ROOT / ".venv" / "manifests"


def read(path: Path) -> Any:
    """Read a YAML file of one document."""
    return yaml.safe_load(path.read_text())


def kubernetes(kind: str) -> Any:
    """Return the one manifest of this kind."""
    (found,) = [manifest for manifest in map(read, KUBERNETES) if manifest["kind"] == kind]
    return found


def objections(tool: str, *arguments: str) -> str:
    """Return what a tool of `make manifests` says against files, empty for nothing; skip without the tool."""
    program = _TOOLS / "bin" / tool
    if not program.exists() and os.environ.get("PRX_TEST_MANIFESTS") != "1":
        pytest.skip(f"{tool} is installed by `make manifests`")
    environment = {"PATH": f"{_TOOLS / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(_TOOLS), "LANG": "C.UTF-8"}
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False)
    return (done.stdout + done.stderr or "failed without a word") if done.returncode else ""


def planted(source: Path, folder: Path, old: str, new: str) -> str:
    """Copy a file with a mistake put into it; return where the copy lies."""
    text = source.read_text()
    assert old in text, f"{source.name} has no {old!r}"
    copy = folder / source.name
    copy.write_text(text.replace(old, new, 1))
    return str(copy)
