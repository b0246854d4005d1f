"""The system unit under a real systemd: what it hears, what it kills, what it starts again, and what it leaves alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from tests.systemd.machine import PRX, Machine, booted, missing

pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing() or "it can be had"), pytest.mark.timeout(240)]

TOKEN = base64.b64encode(json.dumps({"a": "a", "t": "6c5a9b1e-0000-4000-8000-000000000001", "s": "c2VjcmV0"}).encode()).decode()
CONFIGURATION = """
[tunnel]
local_addr = "127.0.0.1:8080"
health_check_interval_secs = 1
on_url = ["/bin/sh -c 'id -un >/var/lib/prx/hook-ran'"]
[tunnel.cloudflare]
mode = "named"
hostname = "agent.example.com"
token = "credential:prx-token"
cloudflared_path = "builtin"
"""
# What the test is too impatient for, and the edge: it is on the same machine, so it comes with the service.
DROP_IN = f"""
[Service]
WatchdogSec=3
RestartSec=100ms
ExecStart=
ExecStart={PRX} start --lab -c /etc/prx/config.toml
"""
ORIGIN = "systemd-run --quiet --unit=origin /opt/prx/bin/python -m http.server 8080 --bind 127.0.0.1"


def put(machine: Machine, path: str, text: str, mode: str = "644") -> None:
    """Write a file in the machine."""
    machine.ok(f"mkdir -p $(dirname {path}) && cat >{path} <<'END'\n{text}\nEND\nchmod {mode} {path}")


def test_from_install_to_permanent_failure(tmp_path: Path) -> None:
    """The unit as prx writes it, hardening and all: one boot for the whole story, as a boot takes seconds."""
    tmp_path.chmod(0o755)
    with booted(tmp_path) as machine:
        put(machine, "/etc/prx/config.toml", CONFIGURATION)
        put(machine, "/etc/credstore/prx-token", TOKEN, "600")
        put(machine, "/etc/systemd/system/prx.service.d/test.conf", DROP_IN)
        machine.ok(f"{PRX} service install --system && systemctl daemon-reload && {ORIGIN}")
        is_ready_once_verified(machine)
        restarts_what_hangs(machine)
        restarts_what_is_killed(machine)
        stops_in_time_with_everything(machine)
        does_not_restart_what_cannot_work(machine)


def is_ready_once_verified(machine: Machine) -> None:
    """`systemctl start` returns when the URL is verified; a user of its own runs it, and root may ask it."""
    machine.ok("systemctl start prx")
    assert machine.show("ActiveState") == "active"
    assert machine.show("StatusText").startswith("ready · healthy · http://agent.example.com.localhost:")
    assert machine.ok(f"PRX_DATA_DIR=/var/lib/private/prx {PRX} status").startswith(
        "default  ready  http://agent.example.com.localhost:"
    )
    machine.wait_until("test -s /var/lib/private/prx/hook-ran")
    assert machine.ok("cat /var/lib/private/prx/hook-ran") == "prx\n"
    facts = machine.ok(f"cat /proc/{machine.show('MainPID')}/status")
    assert "\nCapEff:\t0000000000000000\n" in facts
    assert "\nNoNewPrivs:\t1\n" in facts
    machine.ok("systemctl reload prx")


def restarts_what_hangs(machine: Machine) -> None:
    """A prx that beats no more is killed with its child, and started again; one that beats is left alone."""
    first = machine.show("MainPID")
    machine.ok("sleep 5")  # longer than the watchdog's time-out
    assert (machine.show("MainPID"), machine.show("NRestarts")) == (first, "0")
    machine.ok(f"kill -STOP {first}")
    machine.wait_until('test "$(systemctl show prx --value -p NRestarts)" = 1')
    machine.wait_until("systemctl is-active --quiet prx")
    assert machine.show("MainPID") != first
    assert "healthy" in machine.show("StatusText")


def restarts_what_is_killed(machine: Machine) -> None:
    """A prx that is killed takes its child with it, and comes back."""
    first = machine.show("MainPID")
    child = machine.ok(f"pgrep -P {first} -f prx.lab.connector").split()[0]
    machine.ok(f"kill -KILL {first}")
    machine.wait_until(f"! kill -0 {child} 2>/dev/null")
    machine.wait_until('test "$(systemctl show prx --value -p NRestarts)" = 2')
    machine.wait_until("systemctl is-active --quiet prx")


def stops_in_time_with_everything(machine: Machine) -> None:
    """A stop ends with success, and no process of the service is left."""
    machine.ok("systemctl stop prx", within=30)
    assert (machine.show("ActiveState"), machine.show("Result")) == ("inactive", "success")
    assert machine.run("pgrep -f 'prx (start|connector)'").stdout == ""


def does_not_restart_what_cannot_work(machine: Machine) -> None:
    """Exit code 3 is the end: a token that cannot be used is not tried again."""
    put(machine, "/etc/credstore/prx-token", "eyJhIjoibm8ifQ==", "600")
    put(machine, "/etc/systemd/system/prx.service.d/test.conf", "[Service]\nRestartSec=100ms")
    machine.ok("systemctl daemon-reload")
    assert machine.run("systemctl start prx").returncode == 1
    machine.ok("sleep 1")  # ten times the delay of a restart
    assert (machine.show("ActiveState"), machine.show("ExecMainStatus"), machine.show("NRestarts")) == ("failed", "3", "0")
    assert machine.show("StatusText").startswith("failed · auth_rejected · the tunnel token cannot be used")
