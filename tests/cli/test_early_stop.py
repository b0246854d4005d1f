"""A tunnel that is stopped by its name before prx has started it."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.cli.home import Home
from tests.support.waits import free_port

_SERVICE = """
import http.server, pathlib, sys, time
while not pathlib.Path("go").exists():
    time.sleep(0.02)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def states(home: Home) -> dict[str, str]:
    """Return the state of each tunnel."""
    return {item["name"]: item["state"] for item in json.loads(home.run("status", "--json").stdout)["tunnels"]}


_STOP = """
from prx.cli.find_running import all_running
with all_running(None, strict=True) as (prx,):
    prx.client.ask("stop", wait=20, tunnel="web")
"""


def test_a_tunnel_that_is_stopped_while_the_service_comes_up_is_not_started(home: Home) -> None:
    """A stop of the one tunnel, as the dashboard asks for it, returns at once and stands when the service is up."""
    port = free_port()
    (home.folder / "prx.toml").write_text(f'[tunnels.web]\nlocal_addr = "127.0.0.1:{port}"\n')
    prx = home.start("--lab", "--", sys.executable, "-c", _SERVICE, str(port))
    prx.wait_for("waiting for the service")
    assert states(home) == {"web": "starting"}
    subprocess.run([sys.executable, "-c", _STOP], env=home.environ, cwd=home.folder, timeout=20, check=True)
    assert states(home) == {"web": "idle"}
    (home.folder / "go").touch()
    assert prx.end() == 0
    assert not [line for line in [*prx.lines, *prx.talk] if "spawned" in line or ("http://" in line and "lab" not in line)]
