"""The whole story of a tunnel's present verdict, in the public form that `prx why --json` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prx.core.conditions import CONDITIONS
from prx.core.machine import Machine
from prx.core.outlook import Step, outlook, restart_words
from prx.core.sightings import Sighting, Sightings
from prx.core.status import TunnelStatus
from prx.core.verdicts import WELL, Diagnosis

NO_JUDGE = "prx itself, without a check"
_NO_DETAILS: Mapping[str, Any] = {
    "judge": "",
    "cause": "",
    "judged_ago": None,
    "suspected": None,
    "restart": "",
    "evidence": [],
    "next": [],
}
_OWN: Mapping[str, str] = {
    "connector": "connector {}",
    "end of the connector": "end of connector {}",
}  # not the same for all of a tunnel
_FIELDS = ("name", "state", "verdict", "reason", "hint", "url", "proven", "local_addr", "since", "restarts", "attempt")


def story(status: TunnelStatus, wall: float, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the story of a tunnel at `wall` (seconds since 1970); details: what its supervision adds (`inside`)."""
    known = status.to_json(wall)
    verdict = status.verdict
    return {
        **{name: known[name] for name in _FIELDS},
        "title": CONDITIONS[verdict].title if verdict else "",
        "since_secs": None if status.since is None else round(max(0.0, wall - status.since), 1),
        "advice": _advice(status),
        **(details or _NO_DETAILS),
    }


def inside(machine: Machine, sightings: Sightings, due: Mapping[str, float], now: float) -> dict[str, Any]:
    """Return what only the supervision of a tunnel knows; times are relative to `now` (monotonic seconds)."""
    shown, last = machine.shown, sightings.diagnosis
    decided = shown if shown is not None else last
    suspected = last if last is not None and shown is not None and last.verdict is not shown.verdict else None
    return {
        "judge": (decided.judge or NO_JUDGE) if decided is not None else "",
        "cause": str(decided.cause) if decided is not None else "",
        "judged_ago": None if last is None else round(max(0.0, now - sightings.judged_at), 1),
        "suspected": _suspicion(suspected),
        "restart": restart_words(decided, has_child=machine.settings.has_child) if decided is not None else "",
        "evidence": [_seen(item, now) for item in sightings],
        "next": [_step(step) for step in outlook(machine, due, now)],
    }


def beside(details: Mapping[str, Any], missing: Iterable[tuple[int, Mapping[str, Any]]]) -> dict[str, Any]:
    """Add to the `details` of the connector that leads what was seen of those that do not serve, and what is done about them.

    missing: the number of each, with its own details.
    """
    evidence, steps = list(details["evidence"]), list(details["next"])
    for number, others in missing:
        seen = [item for item in others["evidence"] if item["part"] in _OWN]
        evidence += [{**item, "part": _OWN[item["part"]].format(number)} for item in seen]
        steps += [{**step, "words": f"connector {number}: {step['words']}"} for step in others["next"]]
    steps.sort(key=lambda step: (step["in"] is None, step["in"] or 0.0))
    return {**details, "evidence": evidence, "next": steps}


def _advice(status: TunnelStatus) -> list[str]:
    """Return what the operator can do, the best first; nothing if all is well."""
    advice = [status.hint] if status.hint else []
    if not status.verdict:
        return advice
    if status.verdict.is_final or status.state.is_final:
        advice.append(f"correct it: prx notices a changed configuration by itself; prx restart {status.name} begins at once")
    elif status.lacks_connectors and status.verdict in WELL:
        advice.append(f"prx logs {status.name} has the words of the connector that is missing; the others serve meanwhile")
    elif status.verdict not in WELL:
        words = "" if status.backend == "none" else f"prx logs {status.name} has the connector's own words, "
        advice.append(f"{words}prx doctor examines machine and network")
    return advice


def _suspicion(diagnosis: Diagnosis | None) -> dict[str, str] | None:
    if diagnosis is None:
        return None
    return {"verdict": diagnosis.verdict, "reason": diagnosis.reason, "judge": diagnosis.judge or NO_JUDGE}


def _seen(item: Sighting, now: float) -> dict[str, Any]:
    return {"part": item.part, "words": item.words, "ago": round(max(0.0, now - item.at), 1), "judged": item.judged}


def _step(step: Step) -> dict[str, Any]:
    return {"what": step.what, "in": None if step.wait is None else round(step.wait, 1), "words": step.words}
