"""What users' tests get from the pytest plugin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest
from tests.testing.users import run

pytest_plugins = ["pytester"]

APPLICATION = """
    def app(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
        return [b"got ", body]
"""
NOTHING_LEFT = """
    import os, socket, threading
    import psutil
    lookup = socket.getaddrinfo
    def pytest_sessionfinish():
        assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
        me = psutil.Process()
        assert me.children(recursive=True) == []
        assert me.net_connections() == []
        assert socket.getaddrinfo is lookup
"""


def test_synchronous_test(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain test gets a verified URL for an application, restarts and stops its tunnel, and nothing is left behind."""
    pytester.makeconftest(NOTHING_LEFT)
    pytester.makepyfile(
        APPLICATION
        + """
    def test_it(tunnel, lab):
        web = tunnel(app)
        answer = web.post("/hook?a=b", b"event")
        assert (answer.status, answer.text, answer.header("x-path")) == (200, "got event", "/hook")
        assert web.status["verdict"] == "healthy"
        assert [event["event"] for event in web.events].count("url_changed") == 1
        old = web.url
        assert web.restart() == web.url != old
        assert web.get().status == 200
        web.stop()
        assert web.status["state"] == "idle"
        assert web.get().status == 530
        web.stop()

    def test_two(tunnel):
        one, two = tunnel(app, hostname="one"), tunnel(app, hostname="two.localhost", protocol="quic")
        assert one.url.startswith("http://one.localhost:")
        assert two.get().status == one.get().status == 200
        assert {item["protocol"] for item in two.status["connectors"][0]["connections"]} == {"quic"}
"""
    )
    run(pytester, monkeypatch).assert_outcomes(passed=2)


def test_any_http_library(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL opens with libraries that know nothing of the lab, through no proxy, and only such names are led here."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    pytester.makeconftest(NOTHING_LEFT)
    pytester.makepyfile(
        APPLICATION
        + """
    import asyncio, os, socket, urllib.request
    import httpx2
    import pytest

    def test_it(public_url):
        url = public_url(app)
        with urllib.request.urlopen(url + "/a", b"1") as response:
            assert response.read() == b"got 1"
        assert httpx2.post(url, content=b"2").content == b"got 2"
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo("nowhere.invalid", 80)

    def test_afterwards():
        assert "no_proxy" not in os.environ
"""
    )
    run(pytester, monkeypatch).assert_outcomes(passed=2)


def test_asynchronous_test(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test on an event loop gets a tunnel to a server on the same loop; what would block the loop says so."""
    pytester.makepyfile(
        """
    import asyncio
    import pytest

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    @pytest.mark.anyio
    async def test_it(tunnel):
        async def answer(reader, writer):
            await reader.readuntil(b"\\r\\n\\r\\n")
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nhello")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(Exception, match="hold up the event loop"):
                tunnel(port)
            web = await asyncio.to_thread(tunnel, port)
            assert (await asyncio.to_thread(web.get)).text == "hello"
"""
    )
    run(pytester, monkeypatch).assert_outcomes(passed=1)


def test_receiver_without_get(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that only takes POST counts as healthy, and prx's own few requests to it can be known by their sender."""
    pytester.makepyfile(
        """
    seen = []

    def app(environ, start_response):
        seen.append((environ["REQUEST_METHOD"], environ.get("HTTP_USER_AGENT", "")))
        start_response("204 No Content" if environ["REQUEST_METHOD"] == "POST" else "405 Method Not Allowed", [])
        return []

    def test_it(tunnel):
        web = tunnel(app)
        assert web.status["verdict"] == "healthy"
        assert web.post("/hook", b"1").status == 204
        own = [method for method, agent in seen if agent.startswith("prx/")]
        assert set(own) == {"GET"} and len(own) < 5
        assert len(seen) == len(own) + 1
"""
    )
    run(pytester, monkeypatch).assert_outcomes(passed=1)


def test_waiting_for_a_request(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came is returned once, the oldest first; what has not come is waited for, and its absence names what came."""
    pytester.makeconftest(NOTHING_LEFT)
    pytester.makepyfile(
        APPLICATION
        + """
    import threading
    import pytest

    def test_it(tunnel):
        web = tunnel(app)
        assert web.requests() == []  # prx's own are no visitors
        for number in range(3):
            web.post(f"/hook/{number}", b"event")
        web.get("/other")
        assert [web.wait_for_request("POST /hook").path for _ in range(2)] == ["/hook/0", "/hook/1"]
        found = web.wait_for_request("POST /hook")
        assert (found.method, found.path, found.body, found.status) == ("POST", "/hook/2", b"event", 200)
        assert dict(found.answer_headers)["X-Path"] == "/hook/2" and found.answer_body == b"got event"
        later = threading.Timer(0.2, lambda: web.post("/late", b"1"))
        later.start()
        assert web.wait_for_request("POST /late", within=30).body == b"1"
        later.join()
        assert len(web.requests("POST /hook")) == 3
        with pytest.raises(Exception, match="no request such as 'DELETE'") as caught:
            web.wait_for_request("DELETE", within=0.1)
        assert "POST /late" in str(caught.value.__notes__)
        with pytest.raises(Exception, match="colour:red"):
            web.requests("colour:red")

    def test_none_is_kept(tunnel):
        web = tunnel(app, hostname="web", inspect={"enabled": False})
        assert web.get().status == 200
        with pytest.raises(Exception, match="not inspected"):
            web.wait_for_request()
"""
    )
    run(pytester, monkeypatch).assert_outcomes(passed=2)


def test_asgi(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ASGI application is started up, serves requests at once, streams its answer, and is shut down."""
    pytester.makeconftest(NOTHING_LEFT)
    pytester.makepyfile(
        """
    told = []

    class Application:
        async def __call__(self, scope, receive, send):
            if scope["type"] == "lifespan":
                scope["state"]["word"] = b"up"
                for _ in range(2):
                    kind = (await receive())["type"]
                    told.append(kind)
                    await send({"type": kind + ".complete"})
                return
            body = (await receive())["body"]
            head = {"type": "http.response.start", "status": 201, "headers": [(b"x-query", scope["query_string"])]}
            await send(head)
            await send({"type": "http.response.body", "body": scope["state"]["word"] + b" ", "more_body": True})
            await send({"type": "http.response.body", "body": dict(scope["headers"])[b"content-type"] + b" " + body})

    def test_it(tunnel):
        answer = tunnel(Application()).post("/x?a=1", json={"a": 1})
        assert (answer.status, answer.header("x-query"), answer.text) == (201, "a=1", 'up application/json {"a": 1}')

    def test_its_end():
        assert told == ["lifespan.startup", "lifespan.shutdown"]

    async def plain(scope, receive, send):
        assert scope["type"] == "http"
        if scope["path"] == "/broken":
            raise RuntimeError("broken on purpose")
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    def test_without_lifespan(tunnel):
        web = tunnel(plain)
        assert web.get().status == 204
        assert web.get("/broken").status == 500
"""
    )
    run(pytester, monkeypatch).assert_outcomes(passed=3)


def test_mistakes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot work says what was found and what to do, in the output of pytest."""
    pytester.makepyfile(
        """
    def test_no_server(tunnel):
        tunnel(1, within=3)

    def test_no_key(tunnel):
        tunnel(1, protocoll="quic")

    def test_no_value(tunnel):
        tunnel(1, protocol="sctp")

    def test_no_program(tunnel):
        tunnel(1, cloudflared_path="/nowhere/cloudflared")

    def test_no_connection(lab):
        lab.wait_for(lambda lab: lab.tunnels(), within=0.1)
"""
    )
    result = run(pytester, monkeypatch)
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(
        [
            "E *no verified URL within 3 s: origin_down: connection refused by 127.0.0.1:1*",
            "E *hint: start the service on 127.0.0.1:1",
            "E *tunnel() got protocoll, which is no key of*",
            'E *cannot be set up: cloudflare.protocol: found "sctp", expected*quic*',
            "E *'/nowhere/cloudflared'*",
            "E *not within 0.1 s; the lab's last events:",
        ]
    )


def test_fake_client_and_clock(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that starts cloudflared can be tested with a stand-in, and with time that the test moves."""
    pytester.makeconftest(NOTHING_LEFT)
    pytester.makepyfile(
        """
    import subprocess

    def test_fake(fake_client):
        fake = fake_client({"connections": 0})
        command = [fake.path, "tunnel", "--url", "http://127.0.0.1:8080"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
            running = fake.next_run()
            assert running.pid == child.pid
            running.event("running")
            running.send("register 0")
            running.send("exit 1 tunnel is gone", wait=False)
            running.ended()
            log = child.stderr.read()
        assert child.returncode == 1
        assert "Registered tunnel connection" in log and "tunnel is gone" in log
        assert fake.runs[0]["argv"][0] == "tunnel"

    def test_clock(manual_clock):
        fired = []
        manual_clock.call_later(3600, lambda: fired.append(manual_clock.monotonic()))
        manual_clock.advance(3599)
        assert not fired
        manual_clock.advance(1)
        assert fired == [4600.0]
"""
    )
    run(pytester, monkeypatch).assert_outcomes(passed=2)


def test_lab_by_itself(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge's configuration, faults and events can be used from a plain test."""
    pytester.makepyfile(
        APPLICATION
        + """
    import urllib.request
    from prx.lab.events import ConnectionLost, ConnectionRegistered, RequestServed
    from prx.lab.faults import Drop, Unroute

    def test_it(tunnel, lab):
        web = tunnel(app, hostname="web")
        token = lab.token("web")
        assert token == lab.token("web.localhost")
        lab.inject(Unroute("web.localhost"))
        assert web.get().status == 530
        lab.clear(Unroute)
        assert web.get().status == 200
        so_far = len(lab.events)
        lab.inject(Drop())
        assert lab.wait_for_event(ConnectionLost).hostname == "web.localhost"
        lab.wait_for_event(ConnectionRegistered, since=so_far)
        assert {result.error for result in lab.push("web", {"ingress": [{"service": "http_status:418"}]})} == {""}
        assert web.get().status == 418
        lab.wait_for(lambda _: any(isinstance(event, RequestServed) and event.status == 418 for event in lab.events))
        assert lab.call(lambda lab: lab.tunnel("web").config_version) == lab.tunnels()[0].config_version == 1
        assert lab.url("web") == web.url
"""
    )
    run(pytester, monkeypatch).assert_outcomes(passed=1)


def test_killed_run_leaves_no_connector(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a test run is killed its connectors end too."""
    pytester.makepyfile(
        APPLICATION
        + """
    import os, signal
    from pathlib import Path

    def test_it(tunnel):
        web = tunnel(app)
        Path("pid").write_text(str(web.status["connectors"][0]["pid"]))
        os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    assert run(pytester, monkeypatch).ret == -signal.SIGKILL
    pid = int((pytester.path / "pid").read_text())
    try:
        psutil.Process(pid).wait(timeout=30)
    except psutil.NoSuchProcess:
        return


KEEPER = """
    import os, signal, threading, time
    import psutil

    def keeper():
        (found,) = [one for one in psutil.Process().children() if "prx.testing.tunnel_worker" in one.cmdline()]
        return found

    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored by what runs these tests

    def interrupt():  # as a terminal does: all processes of the group get it
        if os.getpgid(keeper().pid) == os.getpgid(0):
            keeper().send_signal(signal.SIGINT)
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize(
    "when",
    [
        "web.get(); interrupt()",
        "web.stop(); interrupt()",
        "other = tunnel(app); interrupt()",
        "threading.Timer(1, interrupt).start(); web.wait_for_request('/never')",
    ],
)
def test_ctrl_c_ends_a_test_run_in_order(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Pytest says that it was interrupted, with its own exit code, and nothing else: tunnels are stopped as after a test."""
    pytester.makeconftest(NOTHING_LEFT.replace("pytest_sessionfinish", "pytest_unconfigure"))  # fixtures end between the two
    pytester.makepyfile(
        APPLICATION
        + KEEPER
        + f"""
    def test_it(tunnel):
        web = tunnel(app)
        {when}
        time.sleep(60)
"""
    )
    found = run(pytester, monkeypatch)
    assert found.ret == pytest.ExitCode.INTERRUPTED
    text = found.stdout.str() + found.stderr.str()
    assert "KeyboardInterrupt" in text
    assert "Traceback" not in text
    assert "rror" not in text.replace("KeyboardInterrupt", "").replace("!", "")


@pytest.mark.parametrize("kind", ["SIGKILL", "SIGTERM"])
def test_a_keeper_that_was_killed_is_one_failure(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The test that meets it says so in words; what is stopped afterwards is stopped already."""
    pytester.makepyfile(
        APPLICATION
        + KEEPER
        + f"""
    def test_it(tunnel):
        web, other = tunnel(app), tunnel(app)
        keeper().send_signal(signal.{kind})
        web.wait_for_request("/never")
"""
    )
    found = run(pytester, monkeypatch)
    found.assert_outcomes(failed=1)
    words = ("no answer before the tunnel ended", "the process that keeps the tunnels of these tests has ended")
    assert any(text in found.stdout.str() for text in words)  # it ends before the question, or after it
    assert "BrokenPipe" not in found.stdout.str()


def test_a_run_that_breaks_off_ends(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of another plugin, after which no fixture is torn down, does not leave the run hanging."""
    pytester.makeconftest("""
    def pytest_sessionfinish():
        raise RuntimeError("a fault of another plugin")
""")
    pytester.makepyfile(
        APPLICATION
        + KEEPER
        + """
    def test_it(tunnel):
        web = tunnel(app)
        interrupt()
        time.sleep(60)
"""
    )
    assert run(pytester, monkeypatch).ret != 0


def test_unused_plugin_costs_nothing() -> None:
    """A test run that uses no fixture imports nothing of prx but the plugin and the public names."""
    code = "import sys, pytest, prx.testing.plugin; print(*sorted(name for name in sys.modules if name.startswith('prx')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.split() == ["prx", "prx.front_door", "prx.testing", "prx.testing.plugin"]
