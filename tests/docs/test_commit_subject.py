"""`scripts/commit-subject`, which holds subjects of commits to CONTRIBUTING.md: as a hook and for a range, with a real git."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "commit-subject"
RULES = runpy.run_path(str(SCRIPT))
AUTHOR = {f"GIT_{role}_NAME": "a" for role in ("AUTHOR", "COMMITTER")}
NAMES = AUTHOR | {f"GIT_{role}_EMAIL": "a@example.com" for role in ("AUTHOR", "COMMITTER")}


class Checkout:
    """A checkout with the script and one commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = os.environ | NAMES | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        (folder / "scripts").mkdir()
        shutil.copy(SCRIPT, folder / "scripts")
        self.git("init", "--quiet", "--initial-branch=main")
        assert self.commit("Begin").returncode == 0

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(words, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=20, check=False)

    def git(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run git in it."""
        return self.run("git", *words)

    def commit(self, message: str) -> subprocess.CompletedProcess[str]:
        """Make a commit without a change."""
        return self.git("commit", "--quiet", "--allow-empty", "-m", message)

    def check(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        return self.run(sys.executable, "scripts/commit-subject", *words)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a checkout."""
    return Checkout(tmp_path)


GOOD = [
    "Keep the child while the edge is away",
    "Pass the reason on\n\nWhy it is so.",
    "Bring the log's words in line",
    "Seed the storms",
    "Process frames in their order",
    "R" + "e" * 71,
    'Revert "Keep the child"\n\nThis reverts commit 1.',
    "Merge the dashboard",
]
BAD = {
    "Keep the child while the edge is away, and with it the URL of a quick one": "73 characters, expected at most 72",
    "Keep the child.": "ends with a period",
    "Merge branch 'web' into main": "'Merge branch' says nothing",
    "keep the child": "begins with 'keep', expected a capital letter",
    "feat: keep the child": "begins with 'feat:'",
    "Core: keep the child": "begins with 'Core:'",
    "Let the child live": "begins with 'Let'",
    "Fixed the wait": "begins with 'Fixed', expected an imperative",
    "Adds a wait": "begins with 'Adds', expected an imperative",
    "Waiting for it": "begins with 'Waiting', expected an imperative",
    "Keep the child\nand its URL": "more than one line",
}


@pytest.mark.parametrize("message", GOOD, ids=lambda message: message[:24])
def test_a_plain_imperative_passes(message: str) -> None:
    """An imperative of at most 72 characters, with or without a body, is not complained about; git's own lines do not count."""
    text = f"{message}\n# Please enter the commit message.\n{RULES['SCISSORS']}\ndiff.\n"
    assert list(RULES["complaints"](RULES["written"](text))) == []


@pytest.mark.parametrize(("message", "why"), BAD.items(), ids=lambda text: text[:24])
def test_each_rule_is_seen_to_complain(message: str, why: str) -> None:
    """What breaks a rule is named: what was found, and what is expected."""
    (found,) = RULES["complaints"](message)
    assert why in found


def test_a_range_is_checked_commit_by_commit(checkout: Checkout) -> None:
    """Every commit of a range is checked and named by its hash; merges, and what was there before, are not."""
    checkout.commit("Fixed before.")
    checkout.git("switch", "--quiet", "-c", "topic")
    checkout.commit("Keep the child\n\nFixes nothing. The end.")
    checkout.commit("fixup! Keep the child")
    checkout.git("switch", "--quiet", "main")
    checkout.git("merge", "--quiet", "--no-ff", "-m", "Merge branch 'topic'", "topic")
    done = checkout.check("main~1..main")
    commit = checkout.git("rev-parse", "--short", "topic").stdout.strip()
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: {commit} 'fixup! Keep the child': begins with 'fixup!': squash it first (git rebase --autosquash)"
    ]


@pytest.mark.parametrize("commits", ["nowhere..main", "--output=stolen"])
def test_what_is_no_range_is_an_error(checkout: Checkout, commits: str) -> None:
    """A range that git does not know, or an option in its place, is an error with git's reason, and no success."""
    done = checkout.check(commits)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: git log {commits}: ")
    assert not (checkout.folder / "stolen").exists()


def test_the_hook_refuses_a_commit(checkout: Checkout) -> None:
    """Installed as a hook, once or twice, it refuses a bad subject and lets a good one, and a fixup, pass."""
    for _ in range(2):
        assert checkout.check("--install").returncode == 0
    refused = checkout.commit("Fixed it")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: 'Fixed it': begins with 'Fixed', expected an imperative")
    assert checkout.commit("Fix it").returncode == 0
    assert checkout.commit("fixup! Fix it").returncode == 0


def test_another_hook_is_left_alone(checkout: Checkout) -> None:
    """A hook that was there before stays as it is; the error says how to have both."""
    hook = checkout.folder / ".git" / "hooks" / "commit-msg"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n")
    done = checkout.check("--install")
    assert done.returncode == 1
    assert "scripts/commit-subject" in done.stderr
    assert hook.read_text() == "#!/bin/sh\n"
