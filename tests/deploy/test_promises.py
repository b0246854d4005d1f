"""What the files of `deploy/` promise of prx, and of each other, is so."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.files import COMPOSE, CONTAINERFILE, DEPLOY, FAKE_TOKEN, KUBERNETES, ROOT, WORKFLOWS, kubernetes, read
from tests.e2e.prx_process import clean_environment, run_prx

UID = 65532
MARGIN = 15  # seconds that prx and the runtime have after the grace period
PAGES = [ROOT / "docs" / "how-to" / f"{name}.md" for name in ("docker", "kubernetes", "compose", "several-machines")]


def pod() -> dict[str, Any]:
    """Return the pod of the Deployment."""
    found: dict[str, Any] = kubernetes("Deployment")["spec"]["template"]["spec"]
    return found


def config_of(place: str) -> str:
    """Return the configuration that Kubernetes or Compose mounts."""
    if place == "kubernetes":
        return str(kubernetes("ConfigMap")["data"]["config.toml"])
    return (DEPLOY / "compose" / "config.toml").read_text()


def grace(place: str) -> float:
    """Return the grace period that it asks for."""
    return float(tomllib.loads(config_of(place))["tunnel"]["cloudflare"]["grace_period_secs"])


def test_a_pod_has_its_grace_period() -> None:
    """Kubernetes and Compose kill prx only after the grace period of the configuration beside them and 15 s more."""
    assert pod()["terminationGracePeriodSeconds"] == grace("kubernetes") + MARGIN
    assert read(COMPOSE)["services"]["prx"]["stop_grace_period"] == f"{grace('compose') + MARGIN:g}s"


def test_an_outage_of_the_edge_restarts_no_pod() -> None:
    """Liveness and startup ask whether prx lives; only readiness asks for the tunnel. All ask where `[web] probes` answers."""
    (container,) = pod()["containers"]
    asked = {name: container[name]["httpGet"] for name in ("livenessProbe", "startupProbe", "readinessProbe")}
    assert [asked[name]["path"] for name in asked] == ["/healthz", "/healthz", "/readyz"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {ports[probe["port"]] for probe in asked.values()} == {9464}
    assert tomllib.loads(config_of("kubernetes"))["web"]["probes"] == "0.0.0.0:9464"
    answered = (ROOT / "src" / "prx" / "app" / "probes_pages.py").read_text()
    assert all(f'"{probe["path"]}":' in answered for probe in asked.values())


def test_an_update_never_has_fewer_connectors() -> None:
    """Two replicas on two nodes, none given up before its successor is ready, and a drained node leaves one."""
    spec = kubernetes("Deployment")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    (spread,) = pod()["topologySpreadConstraints"]
    labels = spec["template"]["metadata"]["labels"]
    budget = kubernetes("PodDisruptionBudget")["spec"]
    assert budget["minAvailable"] < spec["replicas"]
    selectors = [
        spec["selector"],
        spread["labelSelector"],
        budget["selector"],
        kubernetes("NetworkPolicy")["spec"]["podSelector"],
    ]
    assert [selector["matchLabels"] for selector in selectors] == [labels] * 4


def test_a_pod_has_no_rights() -> None:
    """No root, no capability, no token of the cluster, no writable root, the runtime's own seccomp filter."""
    (container,) = pod()["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    context = pod()["securityContext"]
    assert context["runAsNonRoot"] is True
    assert {context["runAsUser"], context["runAsGroup"], context["fsGroup"]} == {UID}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False


def test_compose_gives_no_rights() -> None:
    """Both services run without root, capabilities and a writable root; neither publishes a port."""
    for service in read(COMPOSE)["services"].values():
        assert service["user"] == f"{UID}:{UID}"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in service


def test_the_token_is_a_file_that_the_configuration_names() -> None:
    """It is mounted where the configuration reads it, closed to others; no manifest and no variable holds it."""
    token = {place: tomllib.loads(config_of(place))["tunnel"]["cloudflare"]["token"] for place in ("kubernetes", "compose")}
    (container,) = pod()["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert token["kubernetes"] == f"file:{mounts['token']}/token"
    (secret,) = [volume["secret"] for volume in pod()["volumes"] if volume["name"] == "token"]
    assert secret["defaultMode"] & 0o007 == 0
    assert "env" not in container
    assert not [path for path in KUBERNETES if read(path)["kind"] == "Secret"]
    assert token["compose"] == f"file:/run/secrets/{read(COMPOSE)['services']['prx']['secrets'][0]}"
    assert (ROOT / ".gitignore").read_text().count("/deploy/compose/prx-token") == 1


def test_the_image_holds_no_secret_and_no_root() -> None:
    """The last stage runs as 65532, without a shell as PID 1; no build argument and no copied file is a secret."""
    text = CONTAINERFILE.read_text()
    last = text.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)", last, re.MULTILINE) == [f"{UID}:{UID}"]
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)", last, re.MULTILINE)[0]) == ["prx"]
    assert 'CMD ["prx", "status"]' in last
    assert not re.search(r"^ARG |TOKEN|PASSWORD|PRX_MASTER_KEY", text, re.MULTILINE)
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)


def test_the_data_folder_lies_inside_of_the_volume() -> None:
    """A volume's own folder may belong to root, and prx refuses such a data folder: the image names one inside."""
    (container,) = pod()["containers"]
    data = re.findall(r"PRX_DATA_DIR=(/var\S+)", CONTAINERFILE.read_text())
    assert data == [f"{mount['mountPath']}/data" for mount in container["volumeMounts"] if mount["name"] == "data"]
    assert [line.split(":")[0] for line in read(COMPOSE)["services"]["prx"]["tmpfs"]] == [str(Path(data[0]).parent)]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_do_little(workflow: Path) -> None:
    """Nothing by default, each job names what it needs and has an end; no secret but GitHub's own for its registry."""
    content = read(workflow)
    assert content["permissions"] == {}
    assert all(job["permissions"] and job["timeout-minutes"] for job in content["jobs"].values())
    assert set(re.findall(r"secrets\.(\w+)", workflow.read_text())) <= {"GITHUB_TOKEN"}
    assert not re.search(r"pull_request_target|run:.*\$\{\{", workflow.read_text())
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    runs = [step["run"] for job in content["jobs"].values() for step in job["steps"] if "run" in step]
    assert {word for run in runs for word in re.findall(r"^make ([a-z]+)", run, re.MULTILINE)} <= set(targets)
    assert all((ROOT / run.split()[0]).exists() for run in runs if re.fullmatch(r"\./\S+", run))


def test_a_release_is_tested_signed_and_published_without_a_token() -> None:
    """What is published is what was attested, of tested code, by trusted publishing in an environment of its own."""
    (release,) = [read(path) for path in WORKFLOWS if path.stem == "release"]
    jobs = release["jobs"]
    assert jobs["build"]["needs"] == "test"
    assert jobs["pypi"]["needs"] == jobs["image"]["needs"] == "build"
    uses = [step.get("uses", "").partition("@")[0] for step in jobs["build"]["steps"]]
    assert uses.index("actions/attest-build-provenance") < uses.index("actions/upload-artifact")
    assert jobs["pypi"]["environment"] == "pypi"
    assert jobs["pypi"]["permissions"] == {"id-token": "write"}
    assert all("with" not in step or "password" not in step["with"] for step in jobs["pypi"]["steps"])


def examples() -> list[Any]:
    """Return each configuration that is mounted, and each one that a page shows."""
    mounted = [pytest.param(config_of(place), id=place) for place in ("kubernetes", "compose")]
    shown = [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in PAGES
        for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
    ]
    return mounted + shown


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "how-to" / "run-as-a-service.md"], ids=lambda page: page.stem)
def test_each_page_says_what_its_commands_need(page: Path) -> None:
    """At its begin, or in the section of each command, a page says what that needs; the files that it names are there."""
    intro, *sections = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    commands = [section for section in sections if re.search(r"^```(sh|console)$", section, re.MULTILINE)]
    assert commands or "```sh" in intro
    needs = re.compile(r"[Nn]eeds? .*(Docker|cluster|systemd|OpenRC)")
    assert needs.search(intro) or all(needs.search(section) for section in commands)
    # `exec deploy/prx` is kubectl's deployment
    named = set(re.findall(r"(?<!exec )(?<!tests/)deploy/[\w@./-]*[\w/]", page.read_text()))
    assert all((ROOT / name).exists() for name in named), named


@pytest.mark.parametrize("text", examples())
async def test_each_configuration_loads(tmp_path: Path, text: str) -> None:
    """`prx config check` accepts it, with the secret where it names one; and does not accept a wrong key in it."""
    token = tmp_path / "token"
    token.write_text(FAKE_TOKEN)
    token.chmod(0o600)
    (tmp_path / "prx-token").write_text(token.read_text())
    (tmp_path / "prx-token").chmod(0o600)
    file = tmp_path / "config.toml"
    environ = clean_environment(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path))
    file.write_text(re.sub(r"file:/run/secrets/[^\"]+", f"file:{token}", text))
    code, _, err = await run_prx("config", "check", "-c", str(file), environ=environ)
    assert code == 0, err
    file.write_text(file.read_text() + "\n[webb]\nprobes = 1\n")
    assert (await run_prx("config", "check", "-c", str(file), environ=environ))[0] == 2
