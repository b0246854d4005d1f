"""The OpenRC script, read by a shell as OpenRC reads it; `make image` has an OpenRC run it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.deploy.files import DEPLOY

from prx.config.checker import fields_of
from prx.config.declare import facts_of
from prx.config.schema import CloudflareSettings

OPENRC = DEPLOY / "openrc" / "prx"
MARGIN = 15  # seconds that prx has after the grace period


def openrc(name: str, then: str, **more: str) -> str:
    """Source the script as OpenRC does, as the service `name`; return what `then` prints."""
    stubs = 'ebegin() { :; }; eend() { :; }; eerror() { echo error "$@"; }; need() { echo need "$@"; }; after() { :; }\n'
    stubs += 'checkpath() { echo checkpath "$@"; }\n'
    script = f"set -u\n{stubs}supervise_daemon=;. {OPENRC}\n{then}\n"
    environment = {"PATH": os.environ["PATH"], "RC_SVCNAME": name, **more}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("prx", "start -c /etc/prx/config.toml|/etc/prx/config.toml|/var/lib/prx/default"),
        ("prx.agent", "start -c /etc/prx/agent.toml|/etc/prx/agent.toml|/var/lib/prx/agent"),
    ],
)
def test_the_openrc_script(name: str, expected: str) -> None:
    """A link of another name runs another configuration, with a data folder of its own that only prx's user can enter."""
    assert openrc(name, 'echo "${command_args}|${required_files}|${PRX_DATA_DIR}"') == expected + "\n"
    data = expected.rpartition("|")[2]
    assert f"checkpath -d -m 0700 -o prx:prx {data}\n" in openrc(name, "start_pre", config=str(OPENRC))
    assert openrc(name, "depend") == "need localmount\n"


def test_the_openrc_script_can_be_changed_from_outside() -> None:
    """/etc/conf.d sets program, user and configuration."""
    said = openrc("prx", 'echo "${command} ${command_user} ${command_args}"', command="/usr/bin/prx", config="/srv/x.toml")
    assert said == "/usr/bin/prx prx:prx start -c /srv/x.toml\n"


def test_openrc_starts_nothing_without_a_configuration(tmp_path: Path) -> None:
    """A configuration that is not there is named before anything is made; PATH has the places of /usr/local."""
    said = openrc("prx.agent", 'start_pre || echo "refused"; echo "${PATH}"', config=str(tmp_path / "agent.toml"))
    assert said.startswith(f"error {tmp_path / 'agent.toml'} is not there\nrefused\n/usr/local/sbin:/usr/local/bin:")


def test_openrc_waits_for_any_grace_period() -> None:
    """The end by force comes later than the longest grace period; a mistake in the script's syntax is found."""
    bound = facts_of(fields_of(CloudflareSettings)["grace_period_secs"]).maximum
    assert bound is not None
    assert int(openrc("prx", 'echo "${retry}"').split("/")[1]) >= bound + MARGIN
    assert subprocess.run(["sh", "-n", OPENRC], check=False).returncode == 0
    broken = OPENRC.read_text().replace("reload() {", "reload( {")
    assert subprocess.run(["sh", "-n"], input=broken, text=True, capture_output=True, check=False).returncode != 0
