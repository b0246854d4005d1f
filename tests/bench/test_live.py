"""`make live` works as far as that can be known without an account: against the lab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cloudflare_api.standin import running

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_row_of_the_table_works_in_the_lab(tmp_path: Path) -> None:
    """The script that is to run against Cloudflare itself runs against the lab, row by row, and leaves nothing."""
    with running() as stand:
        before = stand.exported()
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "LAB": "1",
            "ZONE": "prx.localhost",
            "PRX_LAB_CONTROL": stand.lab.control,
            "no_proxy": "*",
        }
        done = subprocess.run(
            [sys.executable, "-m", "bench.live"],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert [line.split("  ")[0] for line in done.stdout.splitlines()[1:]] == [
            "quick tunnel",
            "set-up with Access",
            "named tunnel",
            "teardown",
        ]
        assert stand.exported() == before


def test_it_says_what_it_needs() -> None:
    """Without a token and a zone it does nothing, and says so."""
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-m", "bench.live"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "CLOUDFLARE_API_TOKEN" in done.stderr
