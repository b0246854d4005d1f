"""`prx.asgi.lifespan` under real servers: one tunnel however many workers and reloads, and none when the server has ended."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import httpx2
import pytest
from tests.client.program import Home, wait_for_end_of
from tests.support.visitor import request
from tests.support.waits import PATIENCE, free_port

APP = """
import os, prx
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

VERSION = 1

async def home(request):
    t = request.app.state.tunnel
    return JSONResponse({"url": t.url, "prx": t.pid, "version": VERSION, "worker": os.getpid()})

def make():
    return Starlette(routes=[Route("/", home)], lifespan=prx.asgi.lifespan(int(os.environ["PORT"]), lab=os.environ["LAB"]))

app = make()
"""


# Of another length: Python takes compiled code for that of a file of the same length and second.
NEWER = APP.replace("VERSION = 1", "VERSION = 2  # newer")


@pytest.fixture
def port(home: Home) -> str:
    """Return a free port; the application is in `app.py`."""
    port = str(free_port())
    home.env["PORT"] = port
    (home.path / "app.py").write_text(APP)
    return port


def answer_of(port: str) -> dict[str, Any]:
    """Return what the app answers, as soon as its worker listens: it says "startup complete" before."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found: dict[str, Any] = request("GET", f"http://127.0.0.1:{port}/").json()
            return found
        except httpx2.ConnectError:
            assert time.monotonic() < end


def test_a_reload_keeps_the_url(home: Home, port: str) -> None:
    """With uvicorn --reload another worker process has the same prx and URL; prx ends with a killed reloader."""
    with home.command("uvicorn", "app:app", "--port", port, "--reload") as server:
        server.line("INFO:     Application startup complete")
        before = answer_of(port)
        (home.path / "app.py").write_text(NEWER)
        server.line("INFO:     Application startup complete")
        after = answer_of(port)
        assert (after["version"], after["url"], after["prx"]) == (2, before["url"], before["prx"])
        assert after["worker"] != before["worker"]
        os.kill(server.process.pid, signal.SIGKILL)
        os.kill(after["worker"], signal.SIGKILL)
        wait_for_end_of(before["prx"])


@pytest.mark.parametrize("by", ["HUP", "--reload"])
def test_gunicorn_replaces_its_workers_and_keeps_the_url(home: Home, port: str, by: str) -> None:
    """After a HUP, or new code with --reload, workers with it have the same URL and prx, which ends with gunicorn."""
    options = ["--reload"] if by == "--reload" else []
    with home.command("gunicorn", "app:app", "-k", "asgi", "-w", "2", *options, "-b", f"127.0.0.1:{port}") as server:
        before = answer_of(port)
        (home.path / "app.py").write_text(NEWER)
        if by == "HUP":
            server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE
        while (after := answer_of(port))["version"] != 2:
            assert time.monotonic() < end
        assert (after["url"], after["prx"]) == (before["url"], before["prx"])
        assert after["worker"] != before["worker"]
        os.killpg(server.process.pid, signal.SIGKILL)
        wait_for_end_of(before["prx"])


@pytest.mark.parametrize(
    "argv", [("uvicorn", "app:app", "--workers", "2", "--port"), ("gunicorn", "app:app", "-k", "asgi", "-w", "2", "-b")]
)
def test_workers_share_one(home: Home, port: str, argv: tuple[str, ...]) -> None:
    """Workers that are spawned (uvicorn) and forked (gunicorn) have one URL, and a stop of the server ends prx."""
    place = port if argv[0] == "uvicorn" else f"127.0.0.1:{port}"
    with home.command(*argv, place) as server:
        found: dict[int, tuple[str, int]] = {}
        while not any("startup complete" in line or "Booting worker" in line for line in server.lines):
            server.line()
        server.line()
        while len(found) < 2:
            try:
                answer = request("GET", f"http://127.0.0.1:{port}/").json()
            except OSError:
                continue
            except Exception as error:
                if "connect" not in type(error).__name__.lower():
                    raise
                continue
            found[answer["worker"]] = (answer["url"], answer["prx"])
        assert len(set(found.values())) == 1
        server.process.send_signal(signal.SIGTERM)
        server.end()
        wait_for_end_of(answer["prx"])


AT_IMPORT = """
import json, os, prx

t = prx.tunnel(int(os.environ["PORT"]), lab=os.environ["LAB"], keep=float(os.environ["KEEP"])).open()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"url": t.url, "prx": t.pid, "worker": os.getpid()}).encode()]
"""


@pytest.mark.parametrize(
    ("options", "keep", "stays"),
    [
        (["-w", "1"], "0", False),  # the only process that holds it is replaced
        (["-w", "1"], "60", True),
        (["-w", "2"], "0", True),  # the other worker holds it meanwhile
        (["-w", "1", "--preload"], "0", True),  # the master holds it
    ],
    ids=["one-worker", "keep", "two-workers", "preload"],
)
def test_a_tunnel_opened_at_import_lives_as_long_as_a_process_that_opened_it(
    home: Home, port: str, options: list[str], keep: str, stays: bool
) -> None:
    """When gunicorn replaces a worker that died, the URL is the same if another process holds the tunnel, or with keep=."""
    (home.path / "app.py").write_text(AT_IMPORT)
    home.env["KEEP"] = keep
    with home.command("gunicorn", "app:app", *options, "-b", f"127.0.0.1:{port}") as server:
        holders = {(before := answer_of(port))["worker"]}
        end = time.monotonic() + PATIENCE
        while len(holders) < int(options[1]):  # the others may not have opened it yet
            holders.add(answer_of(port)["worker"])
            assert time.monotonic() < end
        os.kill(before["worker"], signal.SIGKILL)
        while (after := last_answer_of(port))["worker"] in holders:
            assert time.monotonic() < end
        assert ((after["url"], after["prx"]) == (before["url"], before["prx"])) is stays
        server.process.send_signal(signal.SIGTERM)
        server.end()
    if keep != "0":
        with home.command("prx", "stop") as stopping:
            stopping.succeed()
    wait_for_end_of(after["prx"])


def last_answer_of(port: str) -> dict[str, Any]:
    """Return what the app answers, though the worker that was asked first may have died over it."""
    while True:
        try:
            return answer_of(port)
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            continue
