"""`prx setup` as people and scripts run it: what it asks, what it prints, what it refuses."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.home import PRX, Home
from tests.cloudflare_api.standin import Stand, running

from prx.lab.edge.faults.api_faults import Api
from prx.secrets.keys import KeyFinder
from prx.secrets.store import SecretStore
from prx.secrets.value import Secret

NAME = "agent.prx.localhost"


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """Yield a lab with its API."""
    with running() as found:
        yield found


@pytest.fixture
def there(home: Home, stand: Stand) -> Iterator[Home]:
    """Yield a home from which the lab is reached, and take back what was made."""
    home.environ |= reaching(stand)
    yield home
    home.run("teardown", NAME, "--lab", "--yes")


def reaching(stand: Stand) -> dict[str, str]:
    """Return the variables with which a command reaches a lab."""
    return {"PRX_LAB_CONTROL": stand.lab.control, "PRX_MASTER_KEY": "correct horse battery"}


def plan_of(home: Home, *words: str) -> Any:
    """Return a plan as JSON."""
    return json.loads(home.run("setup", *words, "--lab", "--plan", "--json").stdout)


def test_it_asks_before_it_does_anything(there: Home, stand: Stand) -> None:
    """Without a terminal there is no user to ask: nothing is done, and the way out is said."""
    before = stand.exported()
    done = there.run("setup", NAME, "--lab")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert "strangers will reach the service" in done.stderr
    assert stand.exported() == before


def test_a_plan_is_data_and_changes_nothing(there: Home, stand: Stand) -> None:
    """`--plan` prints to stdout, in words and as JSON with the same fingerprint, and needs no journal."""
    before, writes = stand.exported(), stand.writes()
    plan = plan_of(there, NAME, "--allow", "you@example.com")
    assert [step["what"] for step in plan["steps"]][-1] == "dns"
    assert {step["action"] for step in plan["steps"]} == {"create"}
    assert plan["applied"] is False
    words = there.run("setup", NAME, "--allow", "you@example.com", "--lab", "--plan")
    assert words.stdout.splitlines()[0].startswith("create")
    assert plan_of(there, NAME, "--allow", "you@example.com")["fingerprint"] == plan["fingerprint"]
    assert (stand.exported(), stand.writes()) == (before, writes)


def test_the_lines_of_the_readme(there: Home) -> None:
    """Each of the two asks, for which there is no terminal here, and does it with --yes."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    lines = [line.partition("#")[0].split() for line in text.splitlines() if line.startswith(("prx setup", "prx teardown"))]
    assert [line[1] for line in lines] == ["setup", "teardown"]
    for line in lines:
        words = [word.replace("agent.example.com", NAME) for word in line[1:]]
        asked = there.run(*words, "--lab")
        assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
        assert there.run(*words, "--lab", "--yes").returncode == 0


def test_a_plan_writes_nothing_at_all(there: Home) -> None:
    """What only looks leaves no file, not even a folder for data, and waits for no set-up that is being done."""
    before = sorted(there.folder.rglob("*"))
    for words in (
        ("setup", NAME, "--allow", "you@example.com", "--lab", "--plan"),
        ("setup", NAME, "--lab", "--plan", "--json", "--write", "other.toml"),
        ("teardown", NAME, "--lab", "--plan"),
        ("tunnels", "--lab", "--json"),
    ):
        done = there.run(*words)
        assert done.returncode == 0, done.stderr
        assert sorted(there.folder.rglob("*")) == before


def test_only_the_expected_plan_is_carried_out(there: Home, stand: Stand) -> None:
    """`--expect` holds a script to the plan that was shown."""
    fingerprint = plan_of(there, NAME, "--allow", "you@example.com")["fingerprint"]
    before = stand.exported()
    wrong = there.run("setup", NAME, "--allow", "you@example.com", "--lab", "--yes", "--expect", "0" * 16)
    assert wrong.returncode == 1
    assert "has changed since" in wrong.stderr
    assert stand.exported() == before
    right = there.run("setup", NAME, "--allow", "you@example.com", "--lab", "--yes", "--expect", fingerprint, "--json")
    assert right.returncode == 0
    assert json.loads(right.stdout)["applied"] is True


def test_the_file_alone_says_what_is_wanted(there: Home) -> None:
    """Without a host name the difference between the file and Cloudflare is planned, for each named tunnel in it."""
    there.run("setup", NAME, "--allow", "you@example.com", "--lab", "--yes")
    file = there.folder / "prx.toml"
    assert plan_of(there)["steps"] == [step for step in plan_of(there)["steps"] if step["action"] == "keep"]
    file.write_text(file.read_text().replace('["you@example.com"]', '["you@example.com", "@example.org"]'))
    (changed,) = [step for step in plan_of(there)["steps"] if step["action"] != "keep"]
    assert (changed["what"], changed["action"]) == ("application", "change")
    assert there.run("setup", "--lab", "--yes").returncode == 0
    assert "nothing to change" in there.run("setup", "--lab", "--yes").stderr
    assert there.run("config", "check").returncode == 0


def test_another_file_can_be_written(there: Home) -> None:
    """`--write FILE` leaves prx.toml alone, and what was written there can be started from there."""
    done = there.run("setup", NAME, "--local", "9000", "--lab", "--yes", "--write", "other.toml")
    assert done.returncode == 0, done.stderr
    assert not (there.folder / "prx.toml").exists()
    assert there.run("config", "check", "-c", "other.toml").returncode == 0
    assert "nothing to change" in there.run("setup", NAME, "--lab", "--yes", "--write", "other.toml").stderr
    assert there.run("teardown", NAME, "--lab", "--yes", "--write", "other.toml").returncode == 0


WINDOWS = "\ufeff[tunnel]\r\nlocal_addr = 3000\r\n"


@pytest.mark.parametrize(
    "text", [WINDOWS, WINDOWS.replace("\r", ""), WINDOWS[1:], "\ufeff"], ids=["both", "mark", "crlf", "empty"]
)
def test_a_file_of_a_windows_editor_is_edited(there: Home, text: str) -> None:
    """What `prx start` reads is no other file for `prx setup`: a byte order mark and other line ends are no mistake."""
    file = there.folder / "prx.toml"
    file.write_bytes(text.encode())
    done = there.run("setup", NAME, "--lab", "--yes")
    assert done.returncode == 0, done.stderr
    assert there.run("config", "check").returncode == 0
    assert plan_of(there)["steps"] == [step for step in plan_of(there)["steps"] if step["action"] == "keep"]
    assert there.run("teardown", NAME, "--lab", "--yes").returncode == 0


UNSOUND = {
    "cloudflare.allowed_mail": '[tunnel]\n[tunnel.cloudflare]\nallowed_mail = ["a@example.org"]\n',
    "tunnels.web.cloudflare.allowed_mail": '[tunnels.web]\n[tunnels.web.cloudflare]\nallowed_mail = ["a@example.org"]\n',
}


@pytest.mark.parametrize("key", UNSOUND)
@pytest.mark.parametrize("words", [("--plan",), ("--yes",)])
def test_no_file_is_written_that_prx_start_refuses(there: Home, stand: Stand, key: str, words: tuple[str, ...]) -> None:
    """A key of the file that a named tunnel must not have is named beforehand: nothing is made, the file stays."""
    file, before = there.folder / "prx.toml", stand.exported()
    file.write_text(UNSOUND[key])
    done = there.run("setup", NAME, "--lab", *words)
    assert (done.returncode, key in done.stderr, "--write FILE" in done.stderr) == (2, True, True)
    assert (file.read_text(), stand.exported()) == (UNSOUND[key], before)
    assert there.run("setup", NAME, "--lab", "--yes", "--write", "other.toml").returncode == 0
    assert there.run("teardown", NAME, "--lab", "--yes", "--write", "other.toml").returncode == 0


def test_a_plan_is_expected_whatever_else_is_kept(there: Home) -> None:
    """The fingerprint of `--plan` is good for `--expect`, however many secrets there are, and if another one comes."""
    store = SecretStore(Path(there.environ["PRX_DATA_DIR"]), KeyFinder(Secret(there.environ["PRX_MASTER_KEY"])))
    for name in ("one", "two", "three", "four", "five"):
        store.set(name, Secret("x"))
    words = (NAME, "--allow", "you@example.com", "--service-token", "ci=secret:ci")
    fingerprint = plan_of(there, *words)["fingerprint"]
    store.set("six", Secret("x"))
    done = there.run("setup", *words, "--lab", "--yes", "--expect", fingerprint)
    assert done.returncode == 0, done.stderr


def test_a_host_name_that_was_changed_leaves_its_token(there: Home) -> None:
    """The file's tunnel gets another name: what was made for the former one goes, and the token that runs the new one stays."""
    former, file = "former.prx.localhost", there.folder / "prx.toml"
    assert there.run("setup", former, "--lab", "--yes").returncode == 0
    file.write_text(file.read_text().replace(f'hostname = "{former}"', f'hostname = "{NAME}"'))
    assert there.run("setup", "--lab", "--yes").returncode == 0
    gone = there.run("teardown", former, "--lab", "--yes")
    assert (gone.returncode, "it stays" in gone.stderr) == (0, True)
    assert "nothing to change" in there.run("setup", "--lab", "--yes").stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("setup", "agent"), "agent"),
        (("setup", "https://a.prx.localhost/"), "https://"),
        (("setup", NAME, "--allow", "you"), "--allow"),
        (("setup", NAME, "--public-path", "hooks"), "--public-path"),
        (("setup", NAME, "--public-path", "/hooks/*"), "--allow"),
        (("setup", NAME, "--service-token", "a b"), "--service-token"),
        (("setup", NAME, "--service-token", "a", "--service-token", "a=secret:b"), "twice"),
        (("setup", NAME, "--local", "nonsense"), "--local"),
        (("setup", "--allow", "you@example.com"), "host name"),
        (("setup",), "prx setup"),
        (("setup", "agent.example.org", "--yes"), "no zone"),
    ],
)
def test_bad_input_is_said_with_its_place(there: Home, stand: Stand, words: tuple[str, ...], found: str) -> None:
    """What was found, and what is expected; no traceback, nothing done."""
    writes = stand.writes()
    done = there.run(*words, "--lab")
    assert done.returncode in {1, 2}
    assert found in done.stderr
    assert "Traceback" not in done.stderr
    assert stand.writes() == writes


def test_a_cert_serves_tunnel_and_dns_and_says_what_it_cannot(there: Home, stand: Stand) -> None:
    """cert.pem makes an open tunnel; for Access it is refused before anything is made."""
    cert = str(stand.lab.cert_pem)
    before = stand.exported()
    refused = there.run("setup", NAME, "--allow", "you@example.com", "--lab", f"--cert={cert}", "--yes")
    assert refused.returncode == 2
    assert "it can do nothing about Access" in refused.stderr
    assert stand.exported() == before
    done = there.run("setup", NAME, "--lab", "--cert", cert, "--yes")
    assert done.returncode == 0, done.stderr
    (there.folder / "mine").write_bytes(Path(cert).read_bytes())
    for words in (
        ("--cert", "./mine", NAME),
        (NAME, "--cert=mine"),
        ("--cert", NAME),
    ):  # the last one looks where cloudflared does
        again = there.run("setup", "--lab", "--plan", *words)
        assert ("nothing to change" in again.stdout) is (words[0] != "--cert" or words[1] != NAME), again.stderr
        assert "unexpected" not in again.stderr


LOCKED = """from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked
class Locked(KeyringBackend):
    priority = 9
    def get_password(self, *_): raise KeyringLocked("locked")
    set_password = delete_password = get_password
"""


def no_key(home: Home) -> tuple[str, ...]:
    """Take the master password away: no keyring is there either."""
    del home.environ["PRX_MASTER_KEY"]
    return ()


def locked_keyring(home: Home) -> tuple[str, ...]:
    """Have a keyring that is locked, and no master password."""
    (home.folder / "lockedring.py").write_text(LOCKED)
    home.environ |= {"PYTHONPATH": str(home.folder), "PYTHON_KEYRING_BACKEND": "lockedring.Locked"}
    return no_key(home)


def locked_store(home: Home) -> tuple[str, ...]:
    """Have a secrets file that another password opens."""
    folder = Path(home.environ["PRX_DATA_DIR"])
    folder.mkdir(mode=0o700)
    SecretStore(folder, KeyFinder(Secret("one password"))).set("other", Secret("x"))
    home.environ["PRX_MASTER_KEY"] = "another password"
    return ()


def no_lock(home: Home) -> tuple[str, ...]:
    """Have a folder where the secrets file's lock should be."""
    folder = Path(home.environ["PRX_DATA_DIR"])
    folder.mkdir(mode=0o700)
    (folder / "secrets.enc.lock").mkdir()
    return ()


def no_folder(home: Home) -> tuple[str, ...]:
    """Name a file in a folder that is not there."""
    return ("--write", "nowhere/prx.toml")


def dangling_link(home: Home) -> tuple[str, ...]:
    """Name a link to such a file."""
    (home.folder / "link.toml").symlink_to("nowhere/prx.toml")
    return ("--write", "link.toml")


NOT_READY: dict[Callable[[Home], tuple[str, ...]], str] = {
    no_key: "PRX_MASTER_KEY",
    locked_keyring: "the keyring is locked",
    locked_store: "does not open with this key",
    no_lock: "secrets.enc.lock",
    no_folder: "cannot write nowhere/prx.toml",
    dangling_link: "cannot write link.toml",
}


@pytest.mark.parametrize("spoil", NOT_READY, ids=lambda spoil: spoil.__name__)
def test_a_machine_that_is_not_ready_makes_nothing(there: Home, stand: Stand, spoil: Callable[[Home], tuple[str, ...]]) -> None:
    """What this machine cannot keep is found before anything is made at Cloudflare, and nothing claims that something was."""
    words, before = spoil(there), stand.exported()
    done = there.run("setup", NAME, "--allow", "you@example.com", "--service-token", "ci", "--lab", "--yes", *words)
    assert done.returncode == 1
    assert NOT_READY[spoil] in done.stderr
    assert "what was done so far" not in done.stderr
    assert done.stdout == ""
    assert stand.exported() == before


def test_a_zone_that_does_not_serve_is_said_at_the_end(there: Home, stand: Stand) -> None:
    """`prx setup` does not promise what cannot be, `--json` names it, and `prx doctor` finds it later."""
    assert there.run("lab", "fault", "zone-state", "pending").returncode == 0
    try:
        done = there.run("setup", NAME, "--local", "8080", "--allow", "everyone", "--lab", "--yes")
        assert done.returncode == 0, done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(f"done, but {NAME} will not work yet: the zone prx.localhost is pending"), last
        assert "ada.ns.prx.localhost and bob.ns.prx.localhost" in last
        assert len(plan_of(there, NAME)["obstacles"]) == 1
        there.environ |= {"CLOUDFLARE_API_TOKEN": stand.lab.api_token, "CLOUDFLARE_BASE_URL": stand.lab.api}
        found = {item["check"]: item for item in json.loads(there.run("doctor", "--json").stdout)["checks"]}
        assert (found["zone"]["verdict"], "is pending" in found["zone"]["words"]) == ("fail", True)
    finally:
        there.run("lab", "fault", "clear", "zone-state")
    assert plan_of(there, NAME)["obstacles"] == []


def test_no_lab_no_token_no_traceback(home: Home) -> None:
    """Where no lab runs, or there is nothing to sign in with, the hint says what to do."""
    for words, code, hint in (
        (("setup", NAME, "--lab"), 1, "prx lab"),
        (("setup", "agent.example.com"), 3, "permissionGroupKeys"),
        (("tunnels",), 3, "permissionGroupKeys"),
        (("login",), 2, "oauth_client_id"),
    ):
        done = home.run(*words)
        assert done.returncode == code, done.stderr
        assert hint in done.stderr


def test_status_imports_none_of_it(home: Home) -> None:
    """Without an API token `prx status` and `prx url` load neither the client nor an HTTP library."""
    loaded = "print([name for name in sys.modules if 'cloudflare_api' in name or name == 'httpx2'])"
    program = f"import sys; from prx.cli import main; main([sys.argv[1]]); {loaded}"
    for command in ("status", "url", "--help"):
        done = subprocess.run(
            [sys.executable, "-c", program, command],
            env=home.environ,
            cwd=home.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.splitlines()[-1] == "[]", done.stdout


def test_a_quick_tunnel_with_wishes_for_access_is_a_mistake(home: Home) -> None:
    """A wish for protection that is not carried out is reported, and not passed over: strangers would reach the service."""
    file = Path(home.folder) / "prx.toml"
    for wish in ('allow = ["you@example.com"]', 'service_tokens = ["ci"]', 'public_paths = ["/x"]'):
        file.write_text(f"[tunnel]\n[tunnel.access]\n{wish}\n")
        done = home.run("config", "check")
        assert done.returncode == 2
        assert "tunnel.access." in done.stderr


MADE = {
    "*/cfd_tunnel": '"name": "prx-agent.prx.localhost-',
    "*/access/apps": '"name": "prx: agent.prx.localhost"',
    "*/configurations": '"hostname": "agent.prx.localhost"',
    "*/dns_records": ".cfargotunnel.com",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", MADE)
@pytest.mark.parametrize("how", [(), ("--json",)])
def test_ctrl_c_says_how_to_go_on(there: Home, stand: Stand, path: str, how: tuple[str, ...]) -> None:
    """Interrupted with something made already, it says what stays and what takes it back, and loses no secret."""
    before = stand.exported()
    method = "PUT" if path.endswith("configurations") else "POST"
    stand.do(lambda: stand.lab.inject(Api("delay", method=method, path=path, seconds=60, times=1)))
    words = ["setup", NAME, "--allow", "you@example.com", "--service-token", "ci", "--lab", "--yes", *how]
    stopped = there.popen(*words)
    deadline = time.monotonic() + 30
    while MADE[path] not in stand.exported():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=20)
    stand.do(stand.lab.clear)
    assert (stopped.returncode, "Traceback" in err) == (130, False)
    assert f"interrupted: what was done so far stays: the same command goes on, `prx teardown {NAME}` takes it back" in err
    again = there.run(*words)
    assert again.returncode == 0, again.stderr
    shown = out + again.stdout
    store = stand.account.access
    tokens = stand.do(lambda: [token.secret for token in store.service_tokens.values()])
    assert all(token in shown for token in tokens)
    assert sorted(path.name for path in Path(there.environ["PRX_DATA_DIR"]).glob(".setups*")) == []
    assert there.run("teardown", NAME, "--lab", "--yes").returncode == 0
    assert stand.exported() == before


@pytest.mark.parametrize("how", [(), ("--json",)])
@pytest.mark.parametrize("command", ["setup", "teardown"])
def test_what_is_asked_about_has_been_shown(there: Home, command: str, how: tuple[str, ...]) -> None:
    """On a terminal the plan stands above the question, also if JSON is wanted in the end."""
    there.run("setup", NAME, "--allow", "you@example.com", "--lab", "--yes")
    words = (command, NAME, *(("--allow", "@example.org") if command == "setup" else ()), "--lab", *how)
    ours, theirs = pty.openpty()
    try:
        asked = subprocess.Popen(
            [*PRX, *words], env=there.environ, cwd=there.folder, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs
        )
        os.write(ours, b"n\n")
        assert asked.wait(30) == 1
        said = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert 0 < said.find("Access application") < said.find("Do it?")


@pytest.mark.slow
@pytest.mark.parametrize("path", MADE)
def test_a_killed_set_up_is_finished_by_the_next(home: Home, path: str) -> None:
    """`kill -9` while an answer is on its way: the next run finds what was made, makes no twin, and nothing is left at last."""
    with running() as stand:  # of its own: what is on its way is counted once it has ended, in the middle of another test
        home.environ |= reaching(stand)
        finish_a_killed_set_up(home, stand, path)


def finish_a_killed_set_up(there: Home, stand: Stand, path: str) -> None:
    """Do as the test above says."""
    before = stand.exported()
    method = "PUT" if path.endswith("configurations") else "POST"
    stand.do(lambda: stand.lab.inject(Api("delay", method=method, path=path, seconds=60, times=1)))
    words = ["setup", NAME, "--allow", "you@example.com", "--lab"]
    killed = subprocess.Popen(
        [*PRX, *words, "--yes"], env=there.environ, cwd=there.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while MADE[path] not in stand.exported():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.kill()
    killed.wait(10)
    stand.do(stand.lab.clear)
    again = there.run(*words, "--yes")
    assert again.returncode == 0, again.stderr
    assert "nothing to change" in there.run("setup", "--lab", "--plan").stdout
    assert len(json.loads(stand.exported())["tunnels"]) == len(json.loads(before)["tunnels"]) + 1
    assert there.run("teardown", NAME, "--lab", "--yes").returncode == 0
    assert stand.exported() == before
