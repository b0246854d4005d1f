"""`deploy/monitoring`: rules that fire and do not fire as they should, and a dashboard of metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from prx.metrics.table import METRICS

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"
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
