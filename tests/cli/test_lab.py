"""`prx lab` and what one does with it from another terminal."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.cli.home import PRX, Home
from tests.support.visitor import request

from prx.cli import main
from prx.runtime.probes.access import access_answer


@contextmanager
def running(home: Home, *flags: str) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """Run `prx lab --json` for the length of a block; gives its one line."""
    with subprocess.Popen([*PRX, "lab", "--json", *flags], env=home.environ, stdout=subprocess.PIPE, text=True) as lab:
        assert lab.stdout is not None
        try:
            yield json.loads(lab.stdout.readline()), lab
        finally:
            lab.terminate()


@pytest.fixture
def lab(home: Home) -> Iterator[dict[str, Any]]:
    """A lab in another process."""
    with running(home) as (facts, _):
        yield facts


def words(home: Home, *arguments: str) -> str:
    """Run `prx lab …`, which must go well; gives its stdout."""
    done = home.run("lab", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_api_of_a_running_lab(home: Home, lab: dict[str, Any]) -> None:
    """`prx lab token --permissions` makes an API token with these and no others; `prx lab env` says what other tools need."""
    told = words(home, "env").splitlines()
    names = {line.removeprefix("export ").partition("=")[0]: line.partition("=")[2] for line in told}
    assert names["CLOUDFLARE_BASE_URL"] == names["TUNNEL_API_URL"] == lab["api"]
    assert names["CLOUDFLARE_API_TOKEN"] == lab["api_token"]
    assert Path(names["TUNNEL_ORIGIN_CERT"]).read_text().startswith("-----BEGIN ARGO TUNNEL TOKEN-----")
    assert len(words(home, "token", "--permissions", "all")) == len(lab["api_token"])
    limited = words(home, "token", "--permissions", "DNS Write, zone read")
    for path, status in (("/zones", 200), ("/accounts", 403)):
        assert request("GET", lab["api"] + path, headers={"Authorization": f"Bearer {limited}"}).status_code == status
    for flags in (("--permissions", "DNS Edit"), (), ("--permissions", "all", "--hostname", "web")):
        refused = home.run("lab", "token", *flags)
        assert refused.returncode != 0
        assert "expected" in refused.stderr


def test_a_sign_in_can_be_tried(home: Home, lab: dict[str, Any]) -> None:
    """With what `prx lab env` says, `prx login` goes to the lab's page, and `prx tunnels` then needs no token."""
    told = dict(line.removeprefix("export ").split("=", 1) for line in words(home, "env").splitlines())
    home.environ |= {**told, "PRX_MASTER_KEY": "correct horse battery"}
    del home.environ["CLOUDFLARE_API_TOKEN"], home.environ["TUNNEL_ORIGIN_CERT"]
    assert "nothing to sign in to Cloudflare with" in home.run("tunnels").stderr
    asking = subprocess.Popen(
        [*PRX, "login", "--no-browser"], env=home.environ, cwd=home.folder, stderr=subprocess.PIPE, text=True
    )
    with asking as login:
        assert login.stderr is not None
        url = next(line.strip() for line in login.stderr if line.startswith(lab["dash"]))
        assert httpx2.get(url, follow_redirects=True, trust_env=False).status_code == 200
        assert "signed in" in login.stderr.read()
        assert login.wait() == 0
    assert home.run("tunnels", "--json").returncode == 0


def visit(facts: dict[str, Any], host: str, cookie: str = "") -> tuple[int, list[tuple[str, str]]]:
    """GET / as a visitor, following nothing; gives status and headers."""
    answer = request("GET", facts["public"], headers={"Host": host, "Cookie": cookie})
    return answer.status_code, answer.headers.multi_items()


def test_a_lab_is_found_without_its_url(home: Home, lab: dict[str, Any], tmp_path: Path) -> None:
    """Token, push and status need no URL: the lab that was started last is meant."""
    assert words(home, "token", "--hostname", "web") == words(home, "token", "--hostname", "web.localhost")
    assert words(home, "status") == "web.localhost (named): no connection"
    rules = tmp_path / "rules.toml"
    rules.write_text('[[ingress]]\nservice = "http_status:418"\n')
    done = home.run("lab", "push", str(rules))
    assert (done.returncode, done.stderr.strip()) == (0, "web.localhost has no connection now; those to come get it")
    assert json.loads(words(home, "status", "--json"))["tunnels"][0]["config_version"] == 1
    words(home, "token", "--hostname", "other")
    which = home.run("lab", "push", str(rules))
    assert (which.returncode, "other.localhost" in which.stderr, "--hostname" in which.stderr) == (2, True, True)
    rules.write_text("{ nothing")
    assert home.run("lab", "push", str(rules), "--hostname", "web").returncode == 2


def test_a_killed_lab_leaves_nothing_for_long(home: Home, tmp_path: Path) -> None:
    """The directory of a lab that SIGKILL ended goes with the next lab, those of living labs and of others stay."""
    (tmp_path / "prx-lab-of-others").mkdir()
    home.environ["TMPDIR"] = str(tmp_path)
    with running(home) as (facts, _):
        alive = Path(facts["ca"]).parent
        with running(home) as (short, lab):
            killed = Path(short["ca"]).parent
            lab.kill()
        assert killed.is_dir()
        with running(home):
            assert not killed.exists()
            assert alive.is_dir()
    assert [path.name for path in tmp_path.glob("prx-lab-*")] == ["prx-lab-of-others"]


def test_credentials_for_a_configuration(home: Home, lab: dict[str, Any], tmp_path: Path) -> None:
    """A token can be had as a credentials file, for its owner's eyes, never over one that is there."""
    file = tmp_path / "web.json"
    found = words(home, "token", "--hostname", "web", "--credentials", str(file))
    token = json.loads(base64.b64decode(words(home, "token", "--hostname", "web")))
    written = {"AccountTag": token["a"], "TunnelSecret": token["s"], "TunnelID": token["t"], "Endpoint": ""}
    assert (found, json.loads(file.read_text()), file.stat().st_mode & 0o777) == (token["t"], written, 0o600)
    again = home.run("lab", "token", "--hostname", "other", "--credentials", str(file))
    assert (again.returncode, f"{file} exists" in again.stderr, json.loads(file.read_text())) == (1, True, written)
    full = tmp_path / "full.json"
    command = ["prlimit", "--fsize=0", *PRX, "lab", "token", "--hostname", "web", "--credentials", str(full)]
    assert (
        subprocess.run(command, env=home.environ, cwd=home.folder, capture_output=True, timeout=40, check=False).returncode == 1
    )
    assert not full.exists(), "half a file would be in the way of the next try"
    nowhere = home.run("lab", "token", "--hostname", "web", "--credentials", str(tmp_path / "no" / "file"))
    assert (nowhere.returncode, "cannot write" in nowhere.stderr) == (1, True)


def test_protect_and_log_in(home: Home, lab: dict[str, Any]) -> None:
    """A name can be protected, opened for a person, and opened for all."""
    words(home, "token", "--hostname", "web")
    assert json.loads(words(home, "protect", "web"))["issuer"] == "https://lab.cloudflareaccess.com"
    assert access_answer(*visit(lab, "web.localhost")) is not None
    token = words(home, "login", "web", "ada@example.com")
    assert visit(lab, "web.localhost", f"CF_Authorization={token}")[0] == 530
    assert words(home, "status") == "web.localhost (named, protected): no connection"
    words(home, "protect", "web", "--off")
    assert visit(lab, "web.localhost")[0] == 530


def test_faults(home: Home, lab: dict[str, Any]) -> None:
    """A line of a fault script acts at once; a mistake is reported with what is expected."""
    assert json.loads(words(home, "fault", "unroute", "web")) == {"fault": "Unroute", "hostname": "web"}
    assert words(home, "fault", "clear") == ""
    wrong = home.run("lab", "fault", "explode")
    assert (wrong.returncode, "unknown fault 'explode'; expected one of drop" in wrong.stderr) == (1, True)


@pytest.mark.parametrize(
    ("line", "seconds", "times"),
    [
        ("refuse for 1h", 3600.0, None),
        ("nx-domain 2m", 120.0, None),
        ("refuse-visitors 1015 times=3 for 90s", 90.0, 3),
        ("quick-service 429 times=2", None, 2),
        ("udp-blocked", None, None),
    ],
)
def test_faults_with_their_ends(home: Home, lab: dict[str, Any], line: str, seconds: float | None, times: int | None) -> None:
    """A fault is printed whole: for how long it is meant, how much of that is left, and how many occasions."""
    told = json.loads(words(home, "fault", *line.split()))
    assert told.get("for_seconds") == seconds
    assert seconds is None or seconds - 20 < told["seconds_left"] <= seconds
    assert told.get("times_left") == times
    if line.startswith("refuse-visitors"):
        visit(lab, "web.localhost")
        assert json.loads(words(home, "status", "--json"))["faults"][0]["times_left"] == 2


def test_limits_can_be_chosen(home: Home) -> None:
    """A lab refuses what Cloudflare's free plan does unless a flag or the environment says otherwise."""
    path = "/?" + "x" * 20_000

    def status(facts: dict[str, Any]) -> int:
        return request("GET", facts["public"] + path, headers={"Host": "web.localhost"}).status_code

    with running(home) as (facts, _):
        assert status(facts) == 414
    with running(home, "--limits", "none") as (facts, _):
        assert status(facts) == 530
    home.environ["PRX_LAB_LIMITS"] = "none"
    with running(home) as (facts, _):
        assert status(facts) == 530
    with running(home, "--limits", "free") as (facts, _):
        assert status(facts) == 414
    wrong = home.run("lab", "--limits", "pro")
    assert (wrong.returncode, "found 'pro', expected one of free, none" in wrong.stderr) == (2, True)


def test_the_last_of_several_labs_is_meant(home: Home) -> None:
    """Of several labs the one started last is meant, and once it has ended, by whatever death, the one before."""
    with running(home) as (first, _):
        with running(home) as (second, _), running(home) as (third, process):
            assert json.loads(words(home, "status", "--json"))["control"] == third["control"]
            process.kill()
            process.wait()
            assert json.loads(words(home, "status", "--json"))["control"] == second["control"]
        assert json.loads(words(home, "status", "--json"))["control"] == first["control"]


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1:1", "http://", "http://127.0.0.1:99999"])
def test_a_control_url_that_is_none(home: Home, url: str) -> None:
    """A control URL that is none is reported with what is expected."""
    done = home.run("lab", "status", "--control", url)
    assert (done.returncode, "expected a lab's control URL" in done.stderr) == (2, True), done.stderr


def test_script(home: Home, tmp_path: Path) -> None:
    """A lab can be started with a script; one with a mistake is refused before anything listens."""
    script = tmp_path / "story.txt"
    script.write_text("unroute web  # from the beginning\nat 1h drop all\n")
    with running(home, "--script", str(script)):
        assert "Unroute" in words(home, "status")
    script.write_text("at noon drop")
    wrong = home.run("lab", "--script", str(script))
    assert (wrong.returncode, "line 1: 'noon' is no length of time" in wrong.stderr) == (2, True)


def test_addresses_of_ones_own_choice(home: Home) -> None:
    """The edge's addresses and every port can be chosen, so that a connector's configuration can be written once."""
    ports = {"public": "--public-port", "public_https": "--public-https-port", "quick_service": "--quick-service-port"}
    with running(home):
        facts = json.loads(words(home, "status", "--json"))
        chosen = {key: facts[key].rpartition(":")[2] for key in ports}
        edge = [f"127.0.0.2:{address.rpartition(':')[2]}" for address in facts["edge"]]
    flags = [word for address in edge for word in ("--edge", address)]
    with running(home, *flags, *(word for key, flag in ports.items() for word in (flag, chosen[key]))):
        facts = json.loads(words(home, "status", "--json"))
        assert facts["edge"] == edge
        assert {key: facts[key].rpartition(":")[2] for key in ports} == chosen
        taken = home.run("lab", "--edge", edge[0])
    assert (taken.returncode, f"'127.0.0.2', {edge[0].rpartition(':')[2]}" in taken.stderr) == (1, True), taken.stderr
    assert "Traceback" not in taken.stderr
    wrong = home.run("lab", "--edge", "192.0.2.1:7844")
    assert (wrong.returncode, "--edge '192.0.2.1:7844': expected a loopback address" in wrong.stderr) == (2, True)


def test_no_lab(home: Home) -> None:
    """Where no lab runs, also after one has ended, the error says how to start one."""
    with running(home):
        pass
    done = home.run("lab", "status")
    assert (done.returncode, "hint: start one with `prx lab`" in done.stderr) == (1, True)


def test_what_passes_is_shown(home: Home) -> None:
    """Without --json, everything that happens is one line for people on stderr."""
    with subprocess.Popen([*PRX, "lab"], env=home.environ, stderr=subprocess.PIPE, text=True) as lab:
        assert lab.stderr is not None
        while not lab.stderr.readline().startswith("  API"):
            pass
        words(home, "token", "--hostname", "web")
        assert lab.stderr.readline() == "tunnel        web.localhost (named)\n"
        words(home, "fault", "unroute")
        assert lab.stderr.readline() == "fault         Unroute\n"
        state = json.loads(words(home, "status", "--json"))
        visit(state, "web.localhost")
        assert lab.stderr.readline().startswith("request       530 GET web.localhost/ (edge, 16 bytes, ")
        lab.terminate()


@pytest.mark.parametrize("wrong", ["0", "soon", "-5s", ""])
def test_a_time_that_is_none(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--forget-after` takes a time, or `never`."""
    assert main(["lab", "--forget-after", wrong]) == 2
    assert f"--forget-after: found {wrong!r}, expected a time such as 90s or 5m, or never" in capsys.readouterr().err
