"""The repository's own workflows: actionlint has nothing against them, and each thing that they use is pinned."""

import re
from pathlib import Path

import pytest
from tests.deploy.files import COMPOSE, CONTAINERFILE, ROOT, WORKFLOWS, objections, planted, read

RELEASE, CI = (ROOT / ".github" / "workflows" / f"{name}.yml" for name in ("release", "ci"))
DEPENDABOT = ROOT / ".github" / "dependabot.yml"
PIN = re.compile(r"@[0-9a-f]{40} # (v\d+)\.\d+\.\d+$", re.MULTILINE)


def actionlint(workflow: Path, folder: Path) -> str:
    """Return what actionlint says against a workflow, and against the same with tags: it knows actions by their tags only."""
    tagged = folder / f"tagged-{workflow.name}"
    tagged.write_text(PIN.sub(r"@\1", workflow.read_text()))
    return objections("actionlint", str(workflow)) + objections("actionlint", str(tagged))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actionlint_has_nothing_against_the_workflows(tmp_path: Path, workflow: Path) -> None:
    """Expressions, names of jobs and steps, inputs of actions and the shell of each step are right."""
    assert actionlint(workflow, tmp_path) == ""


@pytest.mark.parametrize(
    ("workflow", "old", "new", "said"),
    [
        (RELEASE, "needs: test", "needs: tests", "does not exist"),
        (RELEASE, "steps.push.outputs.digest", "steps.pushed.outputs.digest", '"pushed" is not defined'),
        (RELEASE, "if-no-files-found: error", "if-no-file-found: error", "is not defined in action"),
        (RELEASE, 'pip" install dist/*.whl', 'pip" install $GITHUB_REF_NAME', "SC2086"),
        (CI, "github.event_name ==", "github.event_nam ==", '"event_nam" is not defined'),
        (CI, '"$BASE..$HEAD"', '"${{ github.event.pull_request.title }}"', "potentially untrusted"),
        (CI, "@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0", "@v4", "deprecated"),
    ],
)
def test_mistakes_that_a_schema_cannot_know_are_found(tmp_path: Path, workflow: Path, old: str, new: str, said: str) -> None:
    """A job, step, input or property that is not there, unquoted words, a stranger's text in a script, an action too old."""
    assert said in actionlint(Path(planted(workflow, tmp_path, old, new)), tmp_path)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_each_action_is_pinned(workflow: Path) -> None:
    """An action is a commit, which nothing can move, with the release that it is beside it; one action has one pin."""
    used = re.findall(r"uses: (\S+)(?: # (\S+))?$", workflow.read_text(), re.MULTILINE)
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name) and re.fullmatch(r"v\d+\.\d+\.\d+", tag) for name, tag in used)
    everywhere = {name for path in WORKFLOWS for name in re.findall(r"uses: (\S+)", path.read_text())}
    assert len({name.partition("@")[0] for name in everywhere}) == len(everywhere)


def test_each_base_image_is_pinned() -> None:
    """Each image that is pulled is named by its digest, and all by the same."""
    pulled = re.findall(r"^FROM (\S+)", CONTAINERFILE.read_text(), re.MULTILINE)
    pulled += [service["image"] for service in read(COMPOSE)["services"].values() if "build" not in service]
    assert len(pulled) == 3
    assert len(set(pulled)) == 1
    assert re.fullmatch(r"docker\.io/library/python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", pulled[0])


def test_newer_pins_are_proposed(tmp_path: Path) -> None:
    """Dependabot watches the actions and the base image; its file is what its schema describes, and a mistake is found."""
    watched = {(each["package-ecosystem"], each["directory"]) for each in read(DEPENDABOT)["updates"]}
    folders = {f"/{path.parent.relative_to(ROOT)}" for path in (CONTAINERFILE, COMPOSE)}
    assert watched == {("github-actions", "/"), *zip(("docker", "docker-compose"), sorted(folders, reverse=True), strict=True)}
    schema = ("--builtin-schema", "vendor.dependabot")
    assert objections("check-jsonschema", *schema, str(DEPENDABOT)) == ""
    assert objections("check-jsonschema", *schema, planted(DEPENDABOT, tmp_path, "interval: monthly", "interval: fortnightly"))
