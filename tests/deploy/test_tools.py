"""Maintained tools have nothing against the files of `deploy/` and the workflows, and do object to mistakes."""

import shutil
from pathlib import Path

import pytest
from tests.deploy.files import COMPOSE, CONTAINERFILE, DEPLOY, KUBERNETES, WORKFLOWS, objections, planted

from prx.systemd.template import render_template
from prx.systemd.tools import complaints, exposure

COMPOSE_SCHEMA = ("--builtin-schema", "vendor.compose-spec")
WORKFLOW_SCHEMA = ("--builtin-schema", "vendor.github-workflows")
needs_systemd_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


def test_manifests_are_kubernetes() -> None:
    """Each manifest is what Kubernetes' own schemas describe, without a field that they do not know."""
    assert objections("kubernetes-validate", "--strict", *map(str, KUBERNETES)) == ""


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("deployment.yaml", "terminationGracePeriodSeconds", "terminationGracePeriod"),
        ("deployment.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: maybe"),
        ("deployment.yaml", "              path: /healthz", "              paths: /healthz"),
        ("poddisruptionbudget.yaml", "minAvailable", "minimumAvailable"),
        ("configmap.yaml", "data:\n", "datas:\n"),
        ("networkpolicy.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: Ingress"),
    ],
)
def test_mistakes_in_manifests_are_found(tmp_path: Path, file: str, old: str, new: str) -> None:
    """A field that does not exist, or one of another type, is objected to in each kind of manifest."""
    (source,) = [path for path in KUBERNETES if path.name == file]
    assert objections("kubernetes-validate", "--strict", planted(source, tmp_path, old, new))


def test_compose_is_compose() -> None:
    """The Compose file is what the Compose specification describes."""
    assert objections("check-jsonschema", *COMPOSE_SCHEMA, str(COMPOSE)) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [("read_only: true", "readonly: true"), ("restart: unless-stopped", "restart: 3"), ("cap_drop: [ALL]", "cap_drop: ALL")],
)
def test_mistakes_in_compose_are_found(tmp_path: Path, old: str, new: str) -> None:
    """A key that does not exist, or one of another type, is objected to."""
    assert objections("check-jsonschema", *COMPOSE_SCHEMA, planted(COMPOSE, tmp_path, old, new))


def test_workflows_are_workflows() -> None:
    """The workflows are what GitHub's schema describes."""
    assert objections("check-jsonschema", *WORKFLOW_SCHEMA, *map(str, WORKFLOWS)) == ""


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("runs-on", "run-on"),
        ("timeout-minutes: 60", "timeout-minutes: [60]"),
        ("contents: read", "contents: reading"),
        ("      - uses: actions/checkout@", "      - use: actions/checkout@"),
    ],
)
def test_mistakes_in_workflows_are_found(tmp_path: Path, file: Path, old: str, new: str) -> None:
    """A key that does not exist, a type or a permission that there is not, is objected to."""
    assert objections("check-jsonschema", *WORKFLOW_SCHEMA, planted(file, tmp_path, old, new))


def test_the_image_recipe_is_clean() -> None:
    """Hadolint, which checks each RUN with ShellCheck too, has no objection."""
    assert objections("hadolint", "--no-color", str(CONTAINERFILE)) == ""


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (
            "python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b AS build",
            "python AS build",
            "DL3006",
        ),
        ("USER 65532:65532", "USER root", "DL3002"),
        ("RUN pip download ", "RUN pip install --no-cache-dir flask\nRUN pip download ", "DL3013"),
        ('ENTRYPOINT ["prx"]', "ENTRYPOINT prx", "DL3025"),
        (
            'install -m 755 "$(PRX_DATA_DIR=/tmp/prx /opt/prx/bin/prx install cloudflared)"',
            "install $(prx install x)",
            "SC2046",
        ),
    ],
)
def test_mistakes_in_the_image_recipe_are_found(tmp_path: Path, old: str, new: str, rule: str) -> None:
    """A base without a version, root, packages without one, a shell as PID 1 and unquoted words are objected to."""
    assert rule in objections("hadolint", "--no-color", planted(CONTAINERFILE, tmp_path, old, new))


@needs_systemd_analyze
def test_the_template_unit(tmp_path: Path) -> None:
    """The file is the one that the code makes; systemd accepts an instance, finds it hardened, and finds a mistake."""
    text = (DEPLOY / "systemd" / "prx@.service").read_text()
    assert text == render_template(), "python -m prx.systemd.template >deploy/systemd/prx@.service"
    unit = tmp_path / "prx@agent.service"
    unit.write_text(text.replace("/opt/prx/bin/prx", "/bin/true"))
    assert complaints(unit) == []
    assert float(exposure(unit).split()[0]) <= 2.0
    mistakes = {"WatchdogSec=60": "WatchdogSecs=60", "Type=notify": "Type=notifies", "DynamicUser=yes": "DynamicUser=x"}
    for right, wrong in mistakes.items():
        unit.write_text(text.replace("/opt/prx/bin/prx", "/bin/true").replace(right, wrong))
        assert complaints(unit), wrong
