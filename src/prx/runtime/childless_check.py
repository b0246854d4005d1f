"""Checks of a tunnel that another program provides: there is no child to ask."""

from __future__ import annotations

from prx.core import inputs
from prx.core.diagnosis import diagnose
from prx.core.evidence import Evidence
from prx.runtime.context import TunnelContext
from prx.runtime.health_check import HealthChecker


class ChildlessCheck:
    """Gather evidence without a child, and judge it; what one check has found out serves the next."""

    def __init__(self, context: TunnelContext) -> None:
        self._context = context
        self._checker = HealthChecker(context, None)

    async def run(self, number: int) -> tuple[Evidence, inputs.Checked | inputs.NotChecked]:
        """Return the evidence and what the machine takes in of it; `number`: the run that it belongs to."""
        evidence = await self._checker.check()
        if evidence.lacking:
            return evidence, inputs.NotChecked(number)
        return evidence, inputs.Checked(number, diagnose(evidence, self._context.policy), evidence.url)
