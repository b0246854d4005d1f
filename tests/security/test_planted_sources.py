"""Wherever the token comes from, and whatever the child does with it, prx shows it nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.prx_process import clean_environment, run_prx
from tests.security.canaries import Canary, canary, files_of, leaks, token_canary

# A client that shouts its token, together with its arguments and its environment, and gives up.
CLIENT = """#!/bin/sh
case "$*" in *--version*) echo "cloudflared version 2026.8.2 (built 2026-08-20)"; exit 0;; esac
printf '%s\\n' "$@" > "{folder}/child.argv"
env > "{folder}/child.environ"
previous=""
for word in "$@"; do
  [ "$previous" = --token-file ] && token=$(cat "$word")
  previous="$word"
done
echo "{{\\"level\\":\\"error\\",\\"message\\":\\"no use for $token\\",\\"error\\":\\"refused $token\\"}}" >&2
echo "plain $token" >&2
printf '%s' "$token" | wc -c > "{folder}/child.length"
echo "Provided Tunnel token is not valid." >&2
exit 1
"""

CONFIGURATION = """
[tunnel.cloudflare]
cloudflared_path = "{folder}/cloudflared"
mode = "named"
hostname = "app.example.com"
token = {token}
"""

SOURCES = ("plain", "pasted", "variable", "secret", "file", "env", "cmd", "credential", "override")


class Given:
    """A home where the token comes from one source."""

    def __init__(self, folder: Path, source: str, token: Canary) -> None:
        self.folder = folder
        self.master = canary("master")
        self.environ = clean_environment(folder, PRX_MASTER_KEY=self.master.text)
        self.inputs = [self._write("cloudflared", CLIENT.format(folder=folder), 0o700)]
        self.inputs.append(self._write("prx.toml", CONFIGURATION.format(folder=folder, token=self._place(source, token.text))))

    def _place(self, source: str, text: str) -> str:
        """Put the token where it comes from; return what stands in the configuration."""
        match source:
            case "plain":
                return f'"{text}"'
            case "pasted":
                return f'"cloudflared service install {text}"'
            case "variable" | "env":
                self.environ["AGENT_TOKEN"] = text
                return '"${AGENT_TOKEN}"' if source == "variable" else '"env:AGENT_TOKEN"'
            case "override":
                self.environ["CLOUDFLARE_TUNNEL_TOKEN"] = text
                return '""'
            case "secret":
                keep = [sys.executable, "-m", "prx", "secret", "set", "agent"]
                subprocess.run(keep, input=text.encode(), env=self.environ, check=True, capture_output=True)
                return '"secret:agent"'
        self.inputs.append(self._write("token", text))
        self.environ["CREDENTIALS_DIRECTORY"] = str(self.folder)
        return {"file": '"file:token"', "cmd": f'"cmd:cat {self.folder}/token"', "credential": '"credential:token"'}[source]

    def _write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    async def outputs(self) -> dict[str, str]:
        """Start prx, which ends by itself, and return everything that was to be seen."""
        found = {}
        for name, words in {
            "start": ["start", "--json"],
            "logs": ["logs", "-n", "1000"],
            "config show": ["config", "show", "--origin"],
            "config check": ["config", "check"],
            "secret list": ["secret", "list", "--json"],
        }.items():
            code, out, err = await run_prx(*words, environ=self.environ, cwd=self.folder)
            found[f"{name}: stdout"], found[f"{name}: stderr"] = out, err
            if name == "start":
                assert code == 3, err
        return found | files_of(self.folder, without=tuple(self.inputs))


@pytest.mark.parametrize("source", SOURCES)
async def test_a_token_that_the_child_shouts(tmp_path: Path, source: str) -> None:
    """The child gets the token by none but its own pipe; of what it shouts nothing passes, and no file keeps it."""
    token = token_canary("token")
    given = Given(tmp_path, source, token)
    found = await given.outputs()
    assert int(found["file child.length"]) == len(token.text)
    assert leaks(found, {"token": token, "master": given.master}) == set()
    assert "no use for [redacted]" in found["start: stdout"]


@pytest.mark.parametrize("source", ["plain", "secret", "file", "env", "cmd", "override"])
async def test_a_token_that_cannot_be_used(tmp_path: Path, source: str) -> None:
    """What is wrong with a bad token is said without any part of it."""
    token = canary("token")
    given = Given(tmp_path, source, token)
    found = await given.outputs()
    assert "the tunnel token cannot be used" in found["start: stderr"]
    assert leaks(found, {"token": token, "master": given.master}) == set()
