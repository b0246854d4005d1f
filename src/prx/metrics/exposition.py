"""The metrics as text in Prometheus' exposition format 0.0.4, written by hand: it is thirty lines, and no library is needed.

Source of the format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text-based format).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.verdicts import Verdict
from prx.metrics import table
from prx.metrics.collection import Histogram, TunnelCounts
from prx.metrics.connectors import ConnectorCounts
from prx.metrics.readiness import visitors_get_through
from prx.metrics.table import BUCKETS, LEVELS, METRICS, RESTART_CAUSES, Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one scrape is made of. A tunnel whose connectors cannot be asked has no entry in `connectors`."""

    version: str
    statuses: tuple[TunnelStatus, ...]
    counts: Mapping[str, TunnelCounts]
    connectors: Mapping[str, ConnectorCounts]
    dropped: int = 0


_Sample = tuple[str, tuple[str, ...], float]  # suffix of the name, values of the labels, value


def render(snapshot: Snapshot) -> str:
    """Return all metrics; one that has no sample yet is left out."""
    return "".join(line for metric in METRICS for line in _family(metric, _samples(metric, snapshot)))


def _family(metric: Metric, samples: Iterable[_Sample]) -> Iterator[str]:
    head = f"# HELP {metric.name} {metric.text}\n# TYPE {metric.name} {metric.kind}\n"
    for suffix, values, value in samples:
        names = (*metric.labels, "le") if suffix == "_bucket" else metric.labels
        pairs = ",".join(f'{name}="{_escaped(text)}"' for name, text in zip(names, values, strict=True))
        labels = f"{{{pairs}}}" if pairs else ""
        yield f"{head}{metric.name}{suffix}{labels} {_number(value)}\n"
        head = ""


def _samples(metric: Metric, snapshot: Snapshot) -> Iterator[_Sample]:
    if metric is table.BUILD_INFO:
        yield "", (snapshot.version,), 1
    elif metric is table.DROPPED:
        yield "", (), snapshot.dropped
    for status in snapshot.statuses:
        counts = snapshot.counts.get(status.name) or TunnelCounts()
        for suffix, values, value in (
            *_of_status(metric, status),
            *_of_counts(metric, counts),
            *_of_connector(metric, snapshot.connectors.get(status.name)),
        ):
            yield suffix, (status.name, *values), value


def _of_status(metric: Metric, status: TunnelStatus) -> Iterator[_Sample]:
    if metric is table.UP:
        yield "", (), visitors_get_through(status)
    elif metric is table.STATE:
        yield from (("", (state,), status.state is state) for state in State)
    elif metric is table.VERDICT:
        yield from (("", (verdict,), status.verdict == verdict) for verdict in Verdict)
    elif metric is table.CONNECTIONS:
        yield "", (), sum(len(connector.connections) for connector in status.connectors)
    elif metric is table.CONNECTORS:
        yield "", (), min(status.serving, status.replicas) if status.state.is_up else 0
    elif metric is table.CONNECTORS_WANTED:
        yield "", (), status.replicas


def _of_counts(metric: Metric, counts: TunnelCounts) -> Iterator[_Sample]:
    if metric is table.RESTARTS:
        yield from (("", (cause,), number) for cause, number in _with_zeros(RESTART_CAUSES, counts.restarts))
    elif metric is table.PROBES:
        yield from _of_histogram(counts.probes)
    elif metric is table.PROBE_FAILURES:
        yield "", (), counts.probe_failures
    elif metric is table.URL_CHANGES:
        yield "", (), counts.url_changes
    elif metric is table.LOG_LINES:
        yield from (("", (level,), number) for level, number in _with_zeros(LEVELS, counts.log_lines))


def _with_zeros(names: Iterable[str], counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted({**dict.fromkeys(names, 0), **counts}.items())


def _of_histogram(histogram: Histogram) -> Iterator[_Sample]:
    total = 0
    for bound, count in zip((*map(_number, BUCKETS), "+Inf"), histogram.counts, strict=True):
        total += count
        yield "_bucket", (bound,), total
    yield "_sum", (), histogram.total
    yield "_count", (), total


def _of_connector(metric: Metric, counts: ConnectorCounts | None) -> Iterator[_Sample]:
    if counts is None:
        return
    if metric is table.REQUESTS:
        yield "", (), counts.requests
    elif metric is table.REQUEST_ERRORS:
        yield "", (), counts.request_errors
    elif metric is table.RESPONSES:
        yield from (("", (str(code),), number) for code, number in sorted(counts.said.items()))
    elif metric is table.IN_FLIGHT:
        yield "", (), counts.in_flight
    elif metric is table.REGISTRATIONS:
        yield "", ("accepted",), counts.registered
        yield "", ("rejected",), counts.rejected


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
