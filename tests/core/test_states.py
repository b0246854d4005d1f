"""States and verdicts answer for themselves, so that no screen keeps a list of its own."""

import ast
import json
from pathlib import Path

import pytest

import prx
from prx.core.conditions import CONDITIONS
from prx.core.events import Event, StateChanged, VerdictChanged
from prx.core.states import UP, State
from prx.core.status import TunnelStatus
from prx.core.verdicts import Verdict, summary

SOURCES = sorted(Path(prx.__file__).parent.rglob("*.py"))


def test_states_answer_for_themselves() -> None:
    """Up are ready and degraded, final is failed, and text from the JSON of another process is recognised too."""
    assert {str(state) for state in State if state.is_up} == {"ready", "degraded"}
    assert [str(state) for state in State if state.is_final] == ["failed"]
    assert json.loads(json.dumps({"state": State.READY}))["state"] in UP
    assert "a state of a newer prx" not in UP


def test_final_verdicts() -> None:
    """Final are the verdicts that the operator must do something about."""
    assert [str(verdict) for verdict in Verdict if verdict.is_final] == ["auth_rejected", "misconfigured"]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (TunnelStatus("web", verdict=Verdict.CRASHED, reason="exit code 1"), "crashed: exit code 1"),
        (TunnelStatus("web", verdict=Verdict.HEALTHY), "healthy"),
        (TunnelStatus("web", reason="asked to start"), "asked to start"),
        (TunnelStatus("web"), ""),
    ],
)
def test_summary(status: TunnelStatus, text: str) -> None:
    """Verdict and reason are joined in one place, and an empty part leaves no colon."""
    assert status.summary() == summary(status.verdict, status.reason) == text


def test_facts_read_as_before_in_json() -> None:
    """A typed state or verdict is its plain code in the public JSON."""
    state = StateChanged(tunnel="web", old=State.STARTING, new=State.READY, reason="")
    verdict = VerdictChanged(tunnel="web", old="", new=Verdict.HEALTHY, reason="")
    shown = [json.loads(json.dumps(Event(1, 0.0, fact).to_json())) for fact in (state, verdict)]
    assert [(item["old"], item["new"]) for item in shown] == [("starting", "ready"), ("", "healthy")]


def test_every_verdict_has_a_condition() -> None:
    """A new verdict has a level for its line and a time before it is shown."""
    assert set(CONDITIONS) == set(Verdict)
    assert {condition.level for condition in CONDITIONS.values()} == {"debug", "info", "warn"}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_no_list_of_states_in_words(path: Path) -> None:
    """No module writes its own set of states: two state names in one literal belong to `State`."""
    names = {str(state) for state in State}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Set | ast.Tuple | ast.List):
            words = [item.value for item in node.elts if isinstance(item, ast.Constant) and item.value in names]
            assert len(words) < 2, f"{path.name}:{node.lineno}: {words}: use State"
