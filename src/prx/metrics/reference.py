"""The reference page of the metrics, made from the table.

    python -m prx.metrics.reference > docs/reference/metrics.md

A test compares the page with this and fails when it is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from prx.metrics.table import BUCKETS, METRICS

_INTRODUCTION = """\
# Probes and metrics

<!-- Made by `python -m prx.metrics.reference`; change src/prx/metrics/ instead. -->

```toml
[web]
probes = "127.0.0.1:9464"
```

`[web] probes` lets prx itself answer at an address, which may be beyond this machine (`0.0.0.0:9464`): what it says holds no
secret and no URL, and it does nothing. It is not the dashboard, so a dashboard that is dead is no prx that is dead. A change
of the key takes effect at the next start.

| path | answers |
|---|---|
| `/healthz` | 200 while prx lives and its event loop turns |
| `/readyz` | 200 if every tunnel that is wanted is up, or degraded by its service alone (`origin_down`, `origin_error`); \
else 503, with name, state and verdict of those that are not; \
one that was stopped or taken out of the configuration is not wanted |
| `/metrics` | the metrics below, in Prometheus' text format |

GET and HEAD only. At most 32 connections are open, for at most 10 seconds each; one more than that closes the oldest. After
64 in a row 100 a second are taken. One answer serves every scrape of the same second.

The names of tunnels are labels. Counters start at 0 with prx. Those of the connectors (`prx_connector_…`) are the sum of all
that a tunnel has had since then, and go on over a restart; they are missing while none can be asked. What a connector counts
in the last seconds before its end may not be in it. Lines that a connector logs faster than prx reads them are not counted.

A Grafana dashboard and alert rules are in [`deploy/monitoring`](../../deploy/monitoring/).

## Metrics

| name | type | labels | meaning |
|---|---|---|---|
"""


def page() -> str:
    """Return the page as Markdown."""
    return _INTRODUCTION + "".join(_rows()) + f"\nThe buckets of the histogram end at {', '.join(map(str, BUCKETS))} seconds.\n"


def _rows() -> Iterator[str]:
    for metric in METRICS:
        labels = " ".join(f"`{label}`" for label in metric.labels) or "none"
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
