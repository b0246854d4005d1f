"""`prx start --inspect`, `prx requests` and `prx retarget`, as a user runs them, over the lab."""

from __future__ import annotations

import base64
import hmac
import json
import signal
import socket
import threading
import time

import pytest
from tests.cli.home import Home
from tests.support.origin import serving
from tests.support.visitor import request
from tests.support.waits import PATIENCE, free_port

from prx.app.own_mark import own_mark_for
from prx.core.own_mark import OWN_MARK
from prx.logs.redact import Redactor


def test_what_visitors_ask_for_is_shown(home: Home) -> None:
    """The list, one request with both bodies, a filter and JSON; prx's own health checks are not in the way."""
    with serving() as origin:
        url = home.start(str(origin.port), "--lab", "--inspect").url()
        assert request("GET", f"{url}/status/503", headers={"Authorization": "Bearer visitor-secret"}).status_code == 503
        answer = request("POST", f"{url}/mirror?token=visitor-token", body=b'{"order": 12}')
        assert answer.status_code == 200
        listed = [json.loads(line) for line in home.run("requests", "--json").stdout.splitlines()]
        assert [(item["method"], item["status"]) for item in listed] == [("GET", 503), ("POST", 200)]
        assert home.run("requests", "--filter", "status:5xx").stdout.count("\n") == 1
        shown = home.run("requests", "show", str(listed[1]["id"])).stdout
        assert '"order": 12' in shown
        assert "X-Origin: yes" in shown
        everything = shown + home.run("requests", "show", str(listed[0]["id"]), "--json").stdout + home.run("requests").stdout
        assert "visitor-secret" not in everything
        assert "visitor-token" not in everything
        every = [json.loads(line) for line in home.run("requests", "--all", "--json").stdout.splitlines()]
        assert [item["own"] for item in every].count(False) == 2
        assert len(every) > 2
        status = json.loads(home.run("status", "--json").stdout)["tunnels"][0]
        assert (status["inspected"], status["local_addr"]) == (True, f"127.0.0.1:{origin.port}")
        refused = home.run("requests", "show", "99999")
        assert (refused.returncode, "there is no request 99999" in refused.stderr) == (1, True)
        wrong = home.run("requests", "--filter", "colour:red")
        assert (wrong.returncode, "colour:red" in wrong.stderr) == (2, True)


def test_a_script_waits_for_a_request(home: Home) -> None:
    """`--wait` returns with the request that comes after it was asked for, or with exit code 4."""
    with serving() as origin:
        url = home.start(str(origin.port), "--lab", "--inspect").url()
        assert home.run("requests", "--wait", "POST /mirror", "--timeout", "0.2").returncode == 4
        done = threading.Event()

        def visit() -> None:
            while not done.is_set():
                request("POST", f"{url}/mirror", body=b"x")

        visitor = threading.Thread(target=visit)
        visitor.start()
        try:
            waited = home.run("requests", "--wait", "POST /mirror", "--json")
        finally:
            done.set()
            visitor.join()
        assert (waited.returncode, json.loads(waited.stdout)["path"]) == (0, "/mirror")


def test_another_port_serves_the_same_url(home: Home) -> None:
    """After `prx retarget` the same quick URL leads to the new service, and the connector is the same."""
    with serving() as first, serving() as second:
        first.answer_with(201)
        second.answer_with(202)
        url = home.start(str(first.port), "--lab", "--inspect", "--expect", "2xx").url()
        pid = json.loads(home.run("status", "--json").stdout)["tunnels"][0]["connectors"][0]["pid"]
        assert request("GET", f"{url}/x").status_code == 201
        moved = home.run("retarget", str(second.port))
        assert moved.returncode == 0, moved.stderr
        assert request("GET", f"{url}/x").status_code == 202
        status = json.loads(home.run("status", "--json").stdout)["tunnels"][0]
        assert (status["url"], status["local_addr"]) == (url, f"127.0.0.1:{second.port}")
        assert status["connectors"][0]["pid"] == pid
        home.run("reload")
        assert request("GET", f"{url}/x").status_code == 202


def test_without_inspection_prx_says_what_is_needed(home: Home) -> None:
    """Nothing is shown and nothing can be moved if prx is not in the path, and that is said."""
    with serving() as origin:
        home.start(str(origin.port), "--lab").url()
        for command in (("requests",), ("retarget", "1234"), ("requests", "show", "1")):
            refused = home.run(*command)
            assert (refused.returncode, "--inspect" in refused.stderr) == (2, True), command
        wrong = home.run("retarget", "nonsense port")
        assert (wrong.returncode, "is not a local address" in wrong.stderr) == (2, True)


def test_a_gate_lets_in_who_knows_the_password(home: Home) -> None:
    """Visitors are asked for it, prx's own health checks pass, the password is nowhere to be seen, and nothing is inspected."""
    with serving() as origin:
        started = home.start(str(origin.port), "--lab", "--basic-auth", "env:GATE", GATE="me:gate-password")
        url = started.url()
        assert request("GET", url).status_code == 401
        assert request("GET", url, headers={"Authorization": "Basic bWU6Z2F0ZS1wYXNzd29yZA=="}).status_code == 200
        status = json.loads(home.run("status", "--json").stdout)["tunnels"][0]
        assert (status["verdict"], status["inspected"]) == ("healthy", False)
        assert home.run("requests").returncode == 2
        everything = "\n".join([*started.talk, home.run("logs").stdout, home.run("config", "show").stdout])
        assert "gate-password" not in everything
        assert "bWU6Z2F0ZS1wYXNzd29yZA" not in everything


def test_a_check_of_another_command_is_no_visit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """`prx doctor` gets the word of the prx that carries a URL, passes its gate, and is not listed; others have none."""
    monkeypatch.setenv("PRX_DATA_DIR", home.environ["PRX_DATA_DIR"])
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    redactor = Redactor()
    with serving() as origin:
        started = home.start(str(origin.port), "--lab", "--inspect", "--basic-auth", "env:GATE", GATE="me:gate-password")
        url = started.url()
        mark = own_mark_for(url, redactor)
        assert mark not in redactor.line(f"it is {mark}")
        assert request("GET", f"{url}/checked", headers={OWN_MARK: mark}).status_code == 200
        assert request("GET", f"{url}/guessed", headers={OWN_MARK: "0" * len(mark)}).status_code == 401
        listed = [json.loads(line) for line in home.run("requests", "--all", "--json").stdout.splitlines()]
        assert {item["own"] for item in listed if item["path"] == "/checked"} == {True}
        assert home.run("requests", "--json").stdout == ""
        assert own_mark_for("https://app.example.com", redactor) == own_mark_for("", redactor) == ""
        everything = "\n".join([*started.talk, home.run("logs").stdout, home.run("requests", "--all", "--json").stdout])
        assert mark not in everything
    home.run("stop")
    assert own_mark_for(url, redactor) == ""


def test_a_gate_by_address(home: Home) -> None:
    """An address outside the networks is refused; prx's own health checks are not."""
    with serving() as origin:
        url = home.start(str(origin.port), "--lab", "--allow-ip", "192.0.2.0/24", "--inspect").url()
        assert request("GET", url).status_code == 403
        wrong = home.run("start", "--lab", "--allow-ip", "nonsense")
        assert (wrong.returncode, "203.0.113.0/24" in wrong.stderr) == (2, True), wrong.stderr
        plain = home.run("start", "--lab", "--basic-auth", "me:plain-password")
        assert (plain.returncode, "plain-password" in plain.stderr) == (2, False), plain.stderr


def test_a_request_is_sent_again(home: Home) -> None:
    """`prx replay` goes to the service directly, is marked, and shows up; a script is not asked; a signature is judged."""
    signature = "sha256=" + hmac.new(b"hook-secret", b"hello", "sha256").hexdigest()
    (home.folder / "prx.toml").write_text('[tunnel.inspect.webhooks]\ngithub = "env:HOOK"\n')
    with serving() as origin:
        url = home.start(str(origin.port), "--lab", "--inspect", HOOK="hook-secret").url()
        headers = {"X-Hub-Signature-256": signature, "Authorization": "Bearer visitor-secret"}
        assert request("POST", f"{url}/mirror", body=b"hello", headers=headers).status_code == 200
        (seen,) = [json.loads(line) for line in home.run("requests", "--json").stdout.splitlines()]
        assert seen["signature"] == "github: valid"
        sent = home.run("replay", str(seen["id"]), "--times", "2", "--json")
        assert sent.returncode == 0, sent.stderr
        again = [json.loads(line) for line in sent.stdout.splitlines()]
        assert [(item["status"], item["replay_of"]) for item in again] == [(200, seen["id"])] * 2
        body = json.loads(home.run("requests", "show", str(again[0]["id"]), "--json").stdout)["answer"]["body"]
        assert ["x-prx-replay", str(seen["id"])] in json.loads(base64.b64decode(body))["headers"]
        har = home.run("requests", "show", str(seen["id"]), "--har").stdout
        (home.folder / "one.har").write_text(har)
        assert "visitor-secret" not in har
        archived = home.run("replay", "--from-har", "one.har")
        assert (archived.returncode, "sent from an archive" in archived.stdout) == (0, True), archived.stderr
        large = b"x" * 3_000_000
        post = {"text": base64.b64encode(large).decode(), "encoding": "base64"}
        entry = {"method": "POST", "url": f"{url}/mirror", "headers": [], "postData": post}
        (home.folder / "large.har").write_text(json.dumps({"log": {"entries": [{"request": entry}]}}))
        archived = home.run("replay", "--from-har", "large.har", "--json")
        assert (archived.returncode, json.loads(archived.stdout)["request_bytes"]) == (0, len(large)), archived.stderr
        entries = [{"request": {**entry, "url": there}} for there in ("ws://a/live", "data:,x", f"{url}/mirror")]
        (home.folder / "browser.har").write_text(json.dumps({"log": {"entries": entries}}))
        archived = home.run("replay", "--from-har", "browser.har", "--json")
        assert (archived.returncode, archived.stdout.count("\n")) == (0, 1), archived.stderr
        assert archived.stderr.count("is passed over") == 2
        (home.folder / "sockets.har").write_text(json.dumps({"log": {"entries": entries[:2]}}))
        nothing = home.run("replay", "--from-har", "sockets.har")
        assert (nothing.returncode, "sockets.har holds no HTTP request" in nothing.stderr) == (2, True), nothing.stderr
        (home.folder / "binary.har").write_bytes(b"\xff\xfe")
        wrong = home.run("replay", "--from-har", "binary.har")
        assert (wrong.returncode, "no HTTP archive" in wrong.stderr) == (2, True), wrong.stderr
        assert home.run("requests", "show", str(seen["id"]), "--curl").stdout.startswith("curl -i -X POST http://127.0.0.1:")


def test_a_webhook_outlives_service_and_prx(home: Home) -> None:
    """What comes while the service is down is answered 202, survives `kill -9` of prx, and reaches the service that is back."""
    with serving() as origin:
        port = origin.port
        started = home.start(str(port), "--lab", "--catch")
        url = started.url()
        assert request("GET", f"{url}/x").status_code == 200
    assert request("POST", f"{url}/hook", body=b"kept").status_code == 202
    started.send(signal.SIGKILL)
    started.end()
    (kept,) = (home.folder / "data" / "caught").rglob("*.req")
    assert kept.read_bytes().endswith(b"\r\n\r\nkept")
    with serving(port):
        without = home.start(str(port), "--lab")
        without.wait_for("1 kept requests wait for `prx start --catch`")
        without.send(signal.SIGINT)
        without.end()
        again = home.start(str(port), "--lab", "--catch")
        again.wait_for("1 kept requests were handed over")
        assert not kept.exists()


def test_a_relay_ends_with_its_tunnel(home: Home) -> None:
    """Of a tunnel that is taken out nothing is left once its connector has ended: its port is free, its requests are gone."""
    port = free_port()
    file = home.folder / "prx.toml"
    with serving() as origin:
        one = f'[tunnel]\nlocal_addr = "127.0.0.1:{origin.port}"\n'
        inspected = f"[tunnels.shop.inspect]\nenabled = true\nport = {port}\n"
        file.write_text(f'{one}[tunnels.shop]\nlocal_addr = "127.0.0.1:{origin.port}"\n{inspected}')
        started = home.start("--lab")
        started.url(2)
        assert home.run("requests").returncode == 0
        file.write_text(one)
        assert home.run("reload").returncode == 0
        end = time.monotonic() + PATIENCE
        while _listens(port):
            assert time.monotonic() < end, "the relay of a tunnel that is gone still listens"
            time.sleep(0.05)
        answered = home.run("requests")
        assert (answered.returncode, "not inspected" in answered.stderr) == (2, True), answered
        assert len(json.loads(home.run("status", "--json").stdout)["tunnels"]) == 1


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
