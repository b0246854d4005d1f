"""From nothing to a protected name: `prx setup`, `prx start`, visitors, `prx status` with an API token, `prx teardown`."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.cloudflare_api.standin import Stand, running
from tests.docs.test_named_tunnel import Background
from tests.e2e.prx_process import PRX, clean_environment
from tests.support.threads import in_thread
from tests.support.visitor import request

NAME = "agent.prx.localhost"
SETUP = ("setup", NAME, "--allow", "you@example.com", "--public-path", "/hooks/*", "--service-token", "ci", "--lab", "--yes")


class Service:
    """The service behind the name; `seen` has path and guest of each request that came through the tunnel."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if "Cf-Ray" in self.headers:
                    service.seen.append((self.path, "Cf-Access-Jwt-Assertion" in self.headers))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@contextmanager
def serving() -> Iterator[Service]:
    """Run the service."""
    service = Service()
    with in_thread(service.server):
        yield service


@contextmanager
def knocking(url: str) -> Iterator[list[int]]:
    """Have a stranger ask for a page all the time; yield the answers' status."""
    over, answers = threading.Event(), list[int]()

    def knock() -> None:
        while not over.wait(0.02):
            try:
                answers.append(request("GET", url).status_code)
            except (OSError, httpx2.TransportError):
                answers.append(0)

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()


class Operator:
    """Runs prx in a folder of its own."""

    def __init__(self, folder: Path, stand: Stand, connector: str) -> None:
        self.folder = folder
        self.environ = {
            **clean_environment(folder),
            "PRX_MASTER_KEY": "correct horse battery",
            "PRX_LAB_CONTROL": stand.lab.control,
        }
        self.file = folder / "prx.toml"
        self.file.write_text(
            f'# mine\n[tunnel]\nhealth_check_interval_secs = 1\n\n[tunnel.cloudflare]\ncloudflared_path = "{connector}"\n'
        )

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [PRX, *words], cwd=self.folder, env=self.environ | environ, capture_output=True, text=True, timeout=60, check=False
        )

    def must(self, *words: str, **environ: str) -> str:
        """Run a command that works; return its stdout."""
        done = self.run(*words, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_protected_from_the_first_moment_and_back(tmp_path: Path, connector: str) -> None:
    """A stranger who knocks all the time never reaches the service; a service token and the open path do; nothing is left."""
    with serving() as service, running() as stand:
        operator = Operator(tmp_path, stand, connector)
        before = stand.exported()
        url = f"http://{NAME}:{stand.lab.public.rpartition(':')[2]}"
        with knocking(f"{url}/") as answers:
            values = dict(line.split("=") for line in operator.must(*SETUP, "--local", str(service.port)).splitlines())
            token = {"CF-Access-Client-Id": values["CF_ACCESS_CLIENT_ID"]}
            token["CF-Access-Client-Secret"] = values["CF_ACCESS_CLIENT_SECRET"]
            assert operator.file.read_text().startswith("# mine\n[tunnel]\nhealth_check_interval_secs = 1\n")
            writes = stand.writes()
            assert "nothing to change" in operator.run(*SETUP, "--local", str(service.port)).stderr
            assert "nothing to change" in operator.must("setup", "--lab", "--plan")
            assert stand.writes() == writes
            started = Background("prx start --lab", operator.environ | {"PATH": f"{Path(PRX).parent}:/usr/bin:/bin"}, tmp_path)
            try:
                started.wait_for("protected")
                stranger = request("GET", f"{url}/")
                assert (stranger.status_code, "/cdn-cgi/access/login/" in stranger.headers["location"]) == (302, True)
                assert request("GET", f"{url}/hooks/x").status_code == 200
                assert request("GET", f"{url}/hooks/x/y").status_code == 302
                assert request("GET", f"{url}/", headers=token).status_code == 200
                assert_seen_by_the_account(operator, stand)
                operator.must("teardown", NAME, "--lab", "--yes")  # under a connector that lives
                assert_cut_off(operator)
            finally:
                started.end()
            assert "nothing to change" in operator.run("teardown", NAME, "--lab", "--yes").stderr
        assert 302 in answers
        assert {answer for answer in answers if answer == 200} == set()
        assert set(service.seen) == {("/hooks/x", False), ("/", True)}
        assert stand.exported() == before


def assert_cut_off(operator: Operator) -> None:
    """A connector whose tunnel was taken away is reported as rejected, within seconds, and is not restarted for it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        (tunnel,) = json.loads(operator.must("status", "--json"))["tunnels"]
        if tunnel["verdict"] in {"edge_lost", "auth_rejected"}:
            assert tunnel["restarts"] == 0
            return
    pytest.fail(f"after the teardown it is {tunnel['verdict']}: {tunnel['reason']}")


def assert_seen_by_the_account(operator: Operator, stand: Stand) -> None:
    """With an API token in reach, status and doctor tell of the connectors on this token, and of the newest rules."""
    reach = {"CLOUDFLARE_API_TOKEN": stand.lab.api_token, "PRX_CLOUDFLARE_API": stand.lab.api}
    assert "cloudflare" not in json.loads(operator.must("status", "--json"))["tunnels"][0]
    deadline = time.monotonic() + 20
    told: dict[str, Any] = {"arrived": False}
    while not told["arrived"] and time.monotonic() < deadline:
        (tunnel,) = json.loads(operator.must("status", "--json", **reach))["tunnels"]
        told = tunnel["cloudflare"]
    assert told["arrived"]
    assert told["version"] == 1
    (only,) = told["connectors"]
    assert only["addresses"] == ["127.0.0.1"]
    assert only["version"]
    assert "the newest rules (version 1) have arrived" in operator.must("status", **reach)
    findings = json.loads(operator.run("doctor", "--json", **reach).stdout)["checks"]
    seen = {item["check"]: item["verdict"] for item in findings if item["check"] in {"connectors", "ingress-version", "route"}}
    assert seen == {"connectors": "ok", "ingress-version": "ok", "route": "ok"}
