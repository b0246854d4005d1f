"""A request that was kept, and its answer, for programs: what `prx requests show ID --json` prints. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prx.core.parsing import parse_json


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came through a tunnel, and the service's answer; secrets are hidden in both.

    path: with its query. headers, answer_headers: pairs of name and value, in order. body, answer_body: bytes as they came, the
    first megabyte of them. status: that of the answer; None if none came. raw: all that `prx requests show ID --json` prints.
    """

    id: int
    method: str
    path: str
    status: int | None
    headers: tuple[tuple[str, str], ...]
    body: bytes
    answer_headers: tuple[tuple[str, str], ...]
    answer_body: bytes
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Request:
        """Return what the JSON of one exchange says."""
        asked, answer = found["request"] or {}, found["answer"] or {}
        return cls(
            id=int(found["id"]),
            method=str(found["method"]),
            path=str(found["path"]),
            status=found["status"],
            headers=_pairs(asked),
            body=base64.b64decode(asked.get("body", "")),
            answer_headers=_pairs(answer),
            answer_body=base64.b64decode(answer.get("body", "")),
            raw=dict(found),
        )

    def header(self, name: str) -> str:
        """Return the first value of a header of the request, whatever its case; empty if it has none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def json(self) -> Any:
        """Return the body, read as JSON. Raises ValueError if it is none, or is nested too deeply."""
        return parse_json(self.body)


def later(known: Mapping[str, int], told: Mapping[str, int]) -> dict[str, int]:
    """Return the positions behind both: an answer to one thread may have been on its way while another one went further."""
    return {**known, **{name: max(at, known.get(name, 0)) for name, at in told.items()}}


def _pairs(side: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(value)) for name, value in side.get("headers", ()))
