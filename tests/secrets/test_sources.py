"""References in the configuration lead to the secrets they name."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prx.secrets.errors import SecretError
from prx.secrets.pasted_token import extract_token
from prx.secrets.sources import SecretSources, describe, split_reference, store_lookup
from prx.secrets.value import Secret

TOKEN = "eyJhIjoiYWNjb3VudCIsInQiOiJ0dW5uZWwiLCJzIjoic2VjcmV0In0="
CANARY = "canary-0utput"


def python(code: str) -> str:
    """Make a command reference that runs Python code (which holds no double quote)."""
    return f'cmd:{sys.executable} -c "{code}"'


def refusal(sources: SecretSources, reference: str) -> str:
    """Return the words with which a reference is refused."""
    with pytest.raises(SecretError) as caught:
        sources.resolve(reference)
    message = f"{caught.value.message} {caught.value.hint}"
    assert CANARY not in message
    return message


def test_plain_text_is_the_secret_itself() -> None:
    """A value with no known prefix means itself, colons and all."""
    assert SecretSources().resolve("abc:def\n").reveal() == "abc:def"
    assert "is empty" in refusal(SecretSources(), "")
    assert "UTF-8" in refusal(SecretSources(), f"{CANARY}\udcff")


def test_file_reference(tmp_path: Path) -> None:
    """file: reads a private file, relative to the configuration's folder, and refuses an open one."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\r\n")
    path.chmod(0o600)
    assert SecretSources(base=tmp_path).resolve("file:token").reveal() == TOKEN
    assert SecretSources().resolve(f"file:{path}").reveal() == TOKEN
    path.chmod(0o644)
    assert f"chmod 600 {path}" in refusal(SecretSources(), f"file:{path}")


def test_environment_reference() -> None:
    """env: reads a variable; unset and empty ones are distinguished."""
    sources = SecretSources(environ={"A": "value", "EMPTY": ""})
    assert sources.resolve("env:A").reveal() == "value"
    assert "not set" in refusal(sources, "env:B")
    assert "is empty" in refusal(sources, "env:EMPTY")


def test_credential_reference(tmp_path: Path) -> None:
    """credential: reads systemd's directory and nothing outside it."""
    (tmp_path / "token").write_text("value")
    (tmp_path / "token").chmod(0o440)
    sources = SecretSources(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert sources.resolve("credential:token").reveal() == "value"
    for name in ("../token", "..", "a/b"):
        assert "without a slash" in refusal(sources, f"credential:{name}")
    assert "LoadCredential=token" in refusal(SecretSources(environ={}), "credential:token")


def test_store_reference() -> None:
    """secret: asks the store by name; without a store it says so."""
    assert SecretSources(lookup=lambda name: Secret(name.upper())).resolve("secret:abc").reveal() == "ABC"
    assert "not in use" in refusal(SecretSources(), "secret:abc")


def test_looking_up_opens_the_secrets_file_only_when_asked(tmp_path: Path) -> None:
    """Making the lookup touches nothing; the missing name is a clear error, and no file appears."""
    lookup = store_lookup(tmp_path / "none", {"PRX_MASTER_KEY": "x"})
    assert "there is no secret 'abc'" in refusal(SecretSources(lookup=lookup), "secret:abc")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("reference", ["secret:", "file:", "env: ", "cmd:", "credential:"])
def test_a_reference_to_nothing_is_refused(reference: str) -> None:
    """A prefix alone names nothing."""
    assert "names nothing" in refusal(SecretSources(lookup=Secret), reference)


def test_command_reference() -> None:
    """cmd: takes what a program prints, word by word and without a shell."""
    sources = SecretSources()
    assert sources.resolve(python("print('value')")).reveal() == "value"
    echo = python("import sys; print(sys.argv[1:])")
    assert sources.resolve(f"{echo} '$HOME' ; `id`").reveal() == "['$HOME', ';', '`id`']"


def test_a_failing_command_shows_its_stderr_and_never_its_stdout() -> None:
    """The complaint is shown, cleaned of control characters; output and arguments are not."""
    code = f"import sys; print('{CANARY}'); sys.stderr.write('vault is sealed \\x1b[31m'); sys.exit(7)"
    message = refusal(SecretSources(), python(code).replace("\\", "\\\\"))
    assert "exit code 7: vault is sealed" in message
    assert "\x1b" not in message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("pass", "is empty"),
        (f"print('{CANARY}' * 9999)", "more than 65536 bytes"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("import sys; sys.stdout.buffer.write(bytes([255]))", "UTF-8"),
    ],
)
def test_bad_command_output_is_named(code: str, words: str) -> None:
    """Nothing, too much, a killed program, and bytes that are no text each have their words."""
    assert words in refusal(SecretSources(), python(code))


def test_a_command_that_cannot_start_is_named() -> None:
    """A missing program and an unclosed quote are reported without a traceback."""
    assert "no such file" in refusal(SecretSources(), "cmd:/no/such/program x")
    assert "no closing quotation" in refusal(SecretSources(), f"cmd:op 'read {CANARY}")


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    """A helper whose own child keeps the pipe open cannot keep prx waiting, and the child does not survive."""
    pid_file = tmp_path / "pid"
    code = f"import os, time; child = os.fork(); child and open('{pid_file}', 'w').write(str(child)); time.sleep(60)"
    started = time.monotonic()
    assert "no answer within 1.5 seconds" in refusal(SecretSources(timeout=1.5), python(code))
    assert time.monotonic() - started < 10
    until_gone(int(pid_file.read_text()))


@pytest.mark.parametrize(
    "code", ["yes >&2", "yes >&2 & yes >&2 & yes >&2", "while echo busy >&2; do :; done", "printf x; yes no >&2"]
)
def test_a_command_that_complains_without_a_pause_is_ended(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is up though there is always something to read from it."""

    class NeverIdle(selectors.DefaultSelector):  # however fast it is read
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            assert time.monotonic() - started < 10
            return super().select(None if timeout == 0 else timeout)

    monkeypatch.setattr(selectors, "DefaultSelector", NeverIdle)
    started = time.monotonic()
    assert "no answer within 0.5 seconds" in refusal(SecretSources(timeout=0.5), f'cmd:sh -c "{code}"')


def until_gone(pid: int) -> None:
    """Return when the process has ended (a zombie has no command line), within 10 seconds."""
    deadline = time.monotonic() + 10
    with contextlib.suppress(OSError):
        while Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline
            os.sched_yield()


def test_a_command_does_not_see_prxs_own_secrets() -> None:
    """The master key and the tunnel token are not handed to helper programs; other variables are."""
    environ = {"PATH": os.environ["PATH"], "PRX_MASTER_KEY": CANARY, "CLOUDFLARE_TUNNEL_TOKEN": CANARY, "VAULT_TOKEN": "v"}
    code = (
        "import os; print(sorted(n for n in os.environ if n in ('PRX_MASTER_KEY', 'CLOUDFLARE_TUNNEL_TOKEN', 'VAULT_TOKEN')))"
    )
    assert SecretSources(environ=environ).resolve(python(code)).reveal() == "['VAULT_TOKEN']"


@pytest.mark.parametrize(
    "line",
    [
        f"cloudflared service install {TOKEN}",
        f"sudo cloudflared service install {TOKEN}",
        f"  sudo cloudflared service install '{TOKEN}'\n",
        f"cloudflared.exe service install {TOKEN}",
        f"cloudflared tunnel run --token {TOKEN}",
        f"/usr/local/bin/cloudflared tunnel --no-autoupdate run --token={TOKEN}",
        f"docker run cloudflare/cloudflared:latest tunnel --no-autoupdate run --token {TOKEN}",
        f"$ cloudflared tunnel run --token {TOKEN} --token {TOKEN}",
    ],
)
def test_a_pasted_command_line_yields_its_token(line: str) -> None:
    """What the dashboard offers for copying is understood wherever a secret is read."""
    assert SecretSources(environ={"T": line}).resolve("env:T").reveal() == TOKEN
    assert SecretSources().resolve(line).reveal() == TOKEN


@pytest.mark.parametrize("text", [TOKEN, "cloudflared", "two words", f"other program {TOKEN}", "my cloudflared-token eyJabc"])
def test_other_text_is_left_alone(text: str) -> None:
    """Only a command line of cloudflared is taken apart."""
    assert extract_token(text, "x") == text


def test_a_pasted_line_without_one_token_is_refused() -> None:
    """No token and two tokens are named, neither is shown."""
    assert "no token" in refusal(SecretSources(), f"cloudflared service install {CANARY}")
    message = refusal(SecretSources(), f"cloudflared tunnel run --token {TOKEN} --token eyJ{TOKEN}")
    assert "2 different tokens" in message
    assert "eyJh" not in message


def test_a_reference_is_described_without_its_content() -> None:
    """What is shown of a source holds no plain value and no arguments of a command."""
    assert describe(CANARY) == "plain text"
    assert describe(f"cmd:vault read {CANARY}") == "cmd:vault …"
    assert describe("cmd:helper") == "cmd:helper"
    assert describe("secret:prx-agent") == "secret:prx-agent"
    assert split_reference("https://x") == ("", "https://x")


def test_a_helper_does_not_outlive_prx(tmp_path: Path) -> None:
    """If prx ends while a helper still thinks, in a daemon thread, the helper is killed."""
    fifo = tmp_path / "alive"  # it has a reader as long as the helper lives
    os.mkfifo(fifo)
    code = f"""
import os, sys
from prx.secrets.command import run_for_secret
from prx.secrets.blocking import start_in_thread
start_in_thread(lambda: run_for_secret(["sh", "-c", "exec sleep 1000 <{fifo}"], os.environ, timeout=1000))
os.open("{fifo}", os.O_WRONLY)
print("begun", flush=True)
sys.exit()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "begun\n"
    with contextlib.suppress(OSError):  # ENXIO: it has no reader any more
        writing = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        watch = select.poll()
        watch.register(writing, 0)
        ended = watch.poll(10_000)  # POLLERR once the last reader is gone: a kill takes effect a moment later
        os.close(writing)
        assert ended
