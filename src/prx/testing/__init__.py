"""Helpers for users' own tests: the types of what the pytest plugin's fixtures return.

The fixtures themselves need no import: `prx.testing.plugin` is an entry point of pytest, and its docstring names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prx.front_door import late

if TYPE_CHECKING:
    from prx.testing.clock import ManualClock
    from prx.testing.factory import TunnelFactory
    from prx.testing.fakeclient import FakeClient, FakeClientRun
    from prx.testing.lab import LabInThread
    from prx.testing.tunnels import Tunnel
    from prx.testing.visit import Answer

__all__ = ["Answer", "FakeClient", "FakeClientRun", "LabInThread", "ManualClock", "Tunnel", "TunnelFactory"]

if not TYPE_CHECKING:
    __getattr__ = late(
        __name__,
        {
            "Answer": "prx.testing.visit",
            "FakeClient": "prx.testing.fakeclient",
            "FakeClientRun": "prx.testing.fakeclient",
            "LabInThread": "prx.testing.lab",
            "ManualClock": "prx.testing.clock",
            "Tunnel": "prx.testing.tunnels",
            "TunnelFactory": "prx.testing.factory",
        },
    )
