"""The story of a verdict as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from prx.ui.text import labelled, whole_seconds

_LABEL: Final = 11


def why_lines(story: Mapping[str, Any], width: int = 100) -> list[str]:
    """Return the lines of one tunnel's story (`prx.core.story.story`), wrapped by words at `width` columns."""
    lines = [f"{story['name']}  {story['url'] or story['local_addr']}"]
    for label, texts in why_rows(story):
        lines += _rows(label, texts, width)
    return lines


def why_rows(story: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the story as labels with what stands beside each."""
    since = f" for {whole_seconds(story['since_secs'])}" if story["since_secs"] is not None else ""
    rows = [("state", [f"{story['state']}{since}"])]
    if story["verdict"]:
        title = f" – {story['title']}" if story["title"] else ""
        rows.append(("verdict", [f"{story['verdict']}{title}"]))
    if story["reason"]:
        rows.append(("why", [story["reason"]]))
    if story["judge"]:
        rows.append(("decided by", [story["judge"]]))
    if suspected := story["suspected"]:
        rows.append(("just now", [f"{suspected['verdict']}: {suspected['reason']} (by {suspected['judge']})"]))
    rows.append(("seen", list(_evidence(story["evidence"]))))
    rows.append(("next", list(_steps(story["next"], story["restart"]))))
    return [*rows, ("you can", story["advice"] or ["nothing is to be done"])]


def _evidence(evidence: list[Mapping[str, Any]]) -> Iterator[str]:
    for item in evidence:
        earlier = "" if item["judged"] else ", before the last check"
        yield f"{item['part']}: {item['words']}  ({whole_seconds(item['ago'])} ago{earlier})"


def _steps(steps: list[Mapping[str, Any]], restart: str) -> Iterator[str]:
    for step in steps:
        yield step["words"] if step["in"] is None else f"in {whole_seconds(step['in'])}: {step['words']}"
    if restart:
        yield restart


def _rows(label: str, texts: list[str], width: int) -> list[str]:
    lines = []
    for number, text in enumerate(texts):
        lines += labelled("" if number else label, text, width, _LABEL)
    return lines
