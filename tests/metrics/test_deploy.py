"""`deploy/monitoring`: rules that fire and do not fire as they should, and a dashboard of metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.verdicts import ACTIONS, Action, Verdict
from prx.metrics.readiness import visitors_get_through
from prx.metrics.table import METRICS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
PAGE = ROOT / "docs" / "how-to" / "logs-and-monitoring.md"
KNOWN = {metric.name for metric in METRICS} | {f"prx_probe_seconds_{part}" for part in ("bucket", "sum", "count")}
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")


def expressions() -> list[str]:
    """Return every query of the dashboard, with Grafana's variables filled in."""
    board: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [text.replace("$__rate_interval", "5m").replace("$__range", "6h").replace("$tunnel", ".*") for text in found]


def promtool(*arguments: str) -> None:
    """Run promtool in the folder; it must have no objection."""
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_the_alert_rules(arguments: tuple[str, ...]) -> None:
    """The rules are sound, and each fires in its case and stays silent in the other."""
    promtool(*arguments)


@needs_promtool
def test_the_dashboards_queries_can_be_read(tmp_path: Path) -> None:
    """Prometheus understands every query of the dashboard."""
    rules = [{"record": f"query:number{index}", "expr": text} for index, text in enumerate(expressions())]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", str(path))


@pytest.mark.parametrize("path", ["alerts.yml", "alerts_test.yml", "grafana-dashboard.json"])
def test_only_metrics_that_there_are(path: str) -> None:
    """No file asks for a metric that prx does not give."""
    assert set(re.findall(r"\bprx_[a-z_]+", (FOLDER / path).read_text())) <= KNOWN


def test_every_alert_is_tried() -> None:
    """Each rule has a case in which it fires."""
    alerts = re.findall(r"alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    tests = (FOLDER / "alerts_test.yml").read_text()
    assert [name for name in alerts if not re.search(rf"alertname: {name}\n\s+exp_alerts:\n", tests)] == []


# The verdicts with which all is well for visitors, as far as can be known: there is nothing to raise an alert about.
_GOOD = {Verdict.HEALTHY, Verdict.PROTECTED}
_STATES = {Action.NONE: State.READY, Action.WAIT: State.STARTING, Action.FAIL: State.FAILED}


def alerts() -> dict[str, str]:
    """Return the expression of each alert rule."""
    text = (FOLDER / "alerts.yml").read_text()
    return dict(re.findall(r"- alert: (\w+)\n(.*?)(?=\n      - alert|\Z)", text, re.DOTALL))


def raised_by(verdict: Verdict) -> set[str]:
    """Return the rules that fire if a tunnel has this verdict for long."""
    state = _STATES.get(ACTIONS[verdict], State.DEGRADED)
    status = TunnelStatus("web", state=state, verdict=verdict)
    found = {
        name
        for name, rule in alerts().items()
        if any(re.fullmatch(pattern, verdict) for pattern in re.findall(r'prx_verdict\{verdict=~"([^"]+)"\}\) == 1', rule))
    }
    if state is State.FAILED:
        return found | {"PrxTunnelFailed"}
    return found if visitors_get_through(status) else found | {"PrxTunnelDown"}


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_that_visitors_may_feel_raises_an_alert(verdict: Verdict) -> None:
    """No verdict but the good ones lasts without a word, and the page says which rule it is and what `on_change` hears."""
    rules = raised_by(verdict)
    assert bool(rules) is (verdict not in _GOOD)
    assert rules <= alerts().keys()
    (row,) = [line for line in PAGE.read_text().splitlines() if line.startswith("| `") and f"`{verdict}`" in line.split("|")[1]]
    _, _, rule, hook, _ = row.split("|")
    assert set(re.findall(r"Prx\w+", rule.partition(",")[0])) == rules
    assert hook.strip().startswith("`trouble`") is (ACTIONS[verdict] is not Action.NONE and verdict is not Verdict.STARTING)
