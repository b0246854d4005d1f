"""`[web] probes` of a real prx."""

from __future__ import annotations

from tests.cli.home import Home
from tests.support.visitor import request
from tests.support.waits import free_port


def test_a_real_prx_answers(home: Home) -> None:
    """A prx with a tunnel in the lab is ready and gives metrics that its real connector counted."""
    port = free_port()
    (home.folder / "prx.toml").write_text(
        f'[web]\nprobes = "127.0.0.1:{port}"\n[tunnel]\nlocal_addr = "127.0.0.1:{free_port()}"\n'
    )
    prx = home.start("--lab")
    prx.wait_for("origin_down")
    url = f"http://127.0.0.1:{port}"
    assert request("GET", f"{url}/healthz").text == "ok\n"
    assert request("GET", f"{url}/readyz").status_code == 200
    text = request("GET", f"{url}/metrics").text
    assert 'prx_up{tunnel="default"} 1' in text
    assert 'prx_verdict{tunnel="default",verdict="origin_down"} 1' in text
    assert 'prx_connectors{tunnel="default"} 1' in text
    assert 'prx_connectors_wanted{tunnel="default"} 1' in text
    assert 'prx_connector_requests_total{tunnel="default"} ' in text


def test_an_address_that_cannot_be_is_a_mistake(home: Home) -> None:
    """A name, a missing port or one out of range is named with what is expected."""
    for text in ("example.com:80", "127.0.0.1", "127.0.0.1:70000", ":80:80", "unix:/x"):
        (home.folder / "prx.toml").write_text(f'[web]\nprobes = "{text}"\n')
        done = home.run("config", "check")
        assert done.returncode == 2
        assert "web.probes" in done.stderr
        assert "HOST:PORT or PORT" in done.stderr
