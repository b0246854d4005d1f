"""Try prx against Cloudflare itself: quick, named, set-up, Access, teardown; print a table of what worked.

    CLOUDFLARE_API_TOKEN=… ZONE=example.com make live

It needs an account, and nothing else here does; CI never runs it. It makes one name, `prx-live-XXXX.ZONE`, and takes it away
again, also after a failure. With LAB=1 it runs against a lab that is up (`prx lab`), which is how the script itself is tested.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

PRX = str(Path(sys.executable).with_name("prx"))
PATIENCE = 180.0  # seconds for a name to come up; DNS may take its time


@dataclass
class Trial:
    """One run: where it works, and the table that it fills."""

    zone: str
    lab: bool
    folder: Path
    port: int
    rows: list[tuple[str, str, float, str]] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The host name of this run."""
        if "name" not in self.values:
            self.values["name"] = f"prx-live-{secrets.token_hex(2)}.{self.zone}"
        return self.values["name"]

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every command: data of its own, the token as it was given."""
        return {**os.environ, "PRX_DATA_DIR": str(self.folder / "data"), "PRX_MASTER_KEY": "only for this run"}

    def run(self, *words: str) -> str:
        """Run a command that must work; return its stdout."""
        more = ("--lab",) if self.lab and words[0] in {"setup", "teardown", "tunnels"} else ()
        done = subprocess.run(
            [PRX, *words, *more], cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[0] if done.stderr else f"exit code {done.returncode}")
        return done.stdout

    @contextmanager
    def started(self, *words: str) -> Iterator[str]:
        """Run `prx start` for the length of a block, and give the verified URL."""
        more = ("--lab",) if self.lab else ()
        command = [PRX, "start", *words, "--json", *more]
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            events = (json.loads(line) for line in process.stdout)
            url = next((str(event["url"]) for event in events if event["event"] == "url_changed"), "")
            if not url:
                raise RuntimeError(f"no verified URL within {PATIENCE:.0f} s")
            yield url
        finally:
            timer.cancel()
            process.send_signal(signal.SIGINT)
            process.communicate()

    def step(self, name: str, act: Callable[[], str]) -> bool:
        """Do one thing and write a row."""
        began = time.monotonic()
        try:
            said, mark = act(), "ok"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a row of the table
            said, mark = f"{type(error).__name__}: {error}", "FAILED"
        self.rows.append((name, mark, time.monotonic() - began, said))
        print(f"{name:<22} {mark:<7} {self.rows[-1][2]:6.1f} s  {said}", flush=True)
        return mark == "ok"


@contextmanager
def service() -> Iterator[int]:
    """Serve `hello` on a free port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(url: str, headers: Mapping[str, str] | None = None) -> int:
    """GET a URL and return the status; names of the lab are opened on loopback, as browsers do."""
    place = httpx2.URL(url)
    host = {"Host": place.netloc.decode()}
    if place.host.endswith(".localhost"):
        place = place.copy_with(host="127.0.0.1")
    return httpx2.get(place, headers={**host, **(headers or {})}, follow_redirects=False, timeout=30).status_code


def expect(found: object, wanted: object, what: str) -> None:
    """Raise where something is not as it should be."""
    if found != wanted:
        raise RuntimeError(f"{what}: found {found}, expected {wanted}")


def quick(trial: Trial) -> str:
    """Make a quick tunnel public, and visit it."""
    with trial.started(str(trial.port)) as url:
        expect(ask(url), 200, "a visitor")
        return url


def set_up(trial: Trial) -> str:
    """Make the name, protected; a second run must have nothing to change."""
    words = ("setup", trial.name, "--local", str(trial.port), "--allow", "you@example.com", "--public-path", "/hooks/*")
    lines = trial.run(*words, "--service-token", "live", "--yes").splitlines()
    trial.values |= dict(line.split("=", 1) for line in lines)
    again = json.loads(trial.run("setup", trial.name, "--plan", "--json"))
    expect([step for step in again["steps"] if step["action"] != "keep"], [], "the second plan")
    return trial.name


def named(trial: Trial) -> str:
    """Run the named tunnel: a stranger logs in, a machine passes, an open path is open."""
    with trial.started() as url:
        token = {
            "CF-Access-Client-Id": trial.values["CF_ACCESS_CLIENT_ID"],
            "CF-Access-Client-Secret": trial.values["CF_ACCESS_CLIENT_SECRET"],
        }
        expect(ask(f"{url}/"), 302, "a stranger")
        expect(ask(f"{url}/hooks/x"), 200, "an open path")
        expect(ask(f"{url}/", token), 200, "a service token")
        tunnels = json.loads(trial.run("tunnels", "--json"))["tunnels"]
        ours = next(item for item in tunnels if item["hostname"] == trial.name)
        return f"{url}, {len(ours['connectors'])} connector, status {ours['status']}"


def take_back(trial: Trial) -> str:
    """Take the name away; nothing of prx may be left for it."""
    trial.run("teardown", trial.name, "--yes")
    tunnels = json.loads(trial.run("tunnels", "--json"))["tunnels"]
    expect([item["name"] for item in tunnels if item["hostname"] == trial.name], [], "tunnels that are left")
    return "nothing is left"


def main() -> int:
    """Run everything and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zone", default=os.environ.get("ZONE", ""))
    zone, lab = parser.parse_args().zone, bool(os.environ.get("LAB"))
    if not zone or not (lab or os.environ.get("CLOUDFLARE_API_TOKEN")):
        print("make live needs CLOUDFLARE_API_TOKEN and ZONE=example.com, a zone of your own", file=sys.stderr)
        return 2
    print(f"against {'the lab' if lab else 'Cloudflare itself'}, zone {zone}")
    with tempfile.TemporaryDirectory() as folder, service() as port:
        trial = Trial(zone, lab, Path(folder), port)
        trial.step("quick tunnel", lambda: quick(trial))
        try:
            if trial.step("set-up with Access", lambda: set_up(trial)):
                trial.step("named tunnel", lambda: named(trial))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            return 130
        finally:  # Ctrl-C ends the run, and must leave nothing in a zone that people use
            trial.step("teardown", lambda: take_back(trial))
    return int(any(mark != "ok" for _, mark, _, _ in trial.rows))


if __name__ == "__main__":
    sys.exit(main())
