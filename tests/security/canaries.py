"""Secrets to plant, each different from all others, and the search for them in whatever prx puts out."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Canary:
    """A secret called `name`; one that sees one of `values` has seen it."""

    name: str
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        """The secret as it is planted."""
        return self.values[0]


def canary(name: str) -> Canary:
    """Make a secret of plain words."""
    return Canary(name, (f"canary-{name}-{uuid.uuid4().hex}",))


def token_canary(name: str) -> Canary:
    """Make a tunnel token that is sound; its inner secret must not be seen either."""
    inner = base64.b64encode(f"inner {uuid.uuid4().hex}"[:32].encode()).decode()
    document = {"a": uuid.uuid4().hex, "t": str(uuid.uuid4()), "s": inner}
    return Canary(name, (base64.b64encode(json.dumps(document).encode()).decode(), inner))


def jwt_canary(name: str) -> Canary:
    """Make what looks like a JWT; the signature alone counts as seen."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "RS256"}, {"sub": name})
    ]
    signature = base64.urlsafe_b64encode(uuid.uuid4().bytes * 4).decode().rstrip("=")
    return Canary(name, (".".join([*parts, signature]), signature))


CLOUDFLARE_MARKS = ("cfast_", "cfut_", "cfat_", "cfk_")


def cloudflare_canaries() -> dict[str, Canary]:
    """Make secrets in Cloudflare's own shapes: those of 2026, known by their mark, and the older ones, which have none."""
    marked = {f"{mark}secret": mark + uuid.uuid4().hex + uuid.uuid4().hex[:8] for mark in CLOUDFLARE_MARKS}
    unmarked = {"old-api-token": uuid.uuid4().hex + uuid.uuid4().hex[:8], "old-client-secret": uuid.uuid4().hex * 2}
    return {name: Canary(name, (value,)) for name, value in (marked | unmarked).items()}


def leaks(outputs: Mapping[str, str], canaries: Mapping[str, Canary]) -> set[tuple[str, str]]:
    """Return (output, canary) for each output that shows a canary, in any encoding that a program may use by itself."""
    return {
        (output, name)
        for output, text in outputs.items()
        for name, planted in canaries.items()
        if any(form in text for value in planted.values for form in _forms(value))
    }


def _forms(value: str) -> Iterator[str]:
    yield value
    yield quote(value, safe="")
    yield json.dumps(value)[1:-1]
    # wherever it begins inside of something that is base64: the letters that hold only its own bits
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + value.encode()).decode().rstrip("=")
        yield whole[-(-shift * 8 // 6) : (shift + len(value)) * 8 // 6]


def files_of(folder: Path, *, without: tuple[Path, ...] = ()) -> dict[str, str]:
    """Read every file below `folder` but those in `without`, which are inputs."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path not in without:
            found[f"file {path.relative_to(folder)}"] = path.read_bytes().decode("latin-1")
    return found
