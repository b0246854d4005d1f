"""A Containerfile, carried out without a container engine: folders in place of images, chroot(1) in place of a container.

Two steps are not run as they stand, because they fetch something: `pip download` is done by this machine's own pip, which knows
its registry, and `prx install cloudflared` is replaced by a real cloudflared that is here already.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_IN_CHROOT: Final = """
set -e
mount --make-rprivate /
mount -t proc none "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
exec chroot "$ROOT" "$@"
"""


@dataclass(slots=True)
class Settings:
    """What a stage says of the image that it becomes."""

    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    labels: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    workdir: str = "/"
    ports: list[str] = field(default_factory=list)
    stop_signal: str = ""
    healthcheck: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction of a Containerfile with its words; continued lines are joined, comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        name, _, words = line.partition(" ")
        yield name.upper(), words.strip()


class Builder:
    """Builds the stages of a recipe in `folder`; each FROM starts as a copy of `base`, whatever image it names."""

    def __init__(self, folder: Path, base: Path, source: Path, cloudflared: Path | None) -> None:
        self._folder, self._base, self._source, self._cloudflared = folder, base, source, cloudflared
        self._stages: dict[str, Path] = {}
        self._shell = ["/bin/sh", "-c"]
        self.root = base
        self.settings = Settings()

    def build(self, text: str) -> None:
        """Carry out every step; `root` and `settings` are those of the last stage."""
        for name, words in steps(text):
            getattr(self, f"do_{name.lower()}")(words)

    def do_from(self, words: str) -> None:
        """Start a stage."""
        name = words.rsplit(" AS ", maxsplit=1)[-1]
        self.root, self.settings, self._shell = self._folder / f"stage{len(self._stages)}", Settings(), ["/bin/sh", "-c"]
        self._stages[name] = self.root
        subprocess.run(["cp", "-a", self._base, self.root], check=True)

    def do_run(self, words: str) -> None:
        """Run a command in the stage."""
        if words.startswith("pip download "):
            self._download(words)
        elif "prx install cloudflared" in words:
            target = self.root / "usr" / "local" / "bin" / "cloudflared"
            if self._cloudflared is not None:
                shutil.copy(self._cloudflared, target)
            else:
                target.write_text("#!/bin/sh\necho no cloudflared was at hand >&2\nexit 1\n")
            target.chmod(0o755)
        else:
            environment = {**self.settings.environment, "HOME": "/root", "ROOT": str(self.root)}
            inside = ["env", f"--chdir={self.settings.workdir}", *self._shell, words]
            subprocess.run(["unshare", "--mount", "sh", "-c", _IN_CHROOT, "sh", *inside], env=environment, check=True)

    def _download(self, words: str) -> None:
        """Have this machine's pip do it, in the folder of the stage."""
        arguments = shlex.split(words)[2:]
        where = arguments.index("-d") + 1
        arguments[where] = str(self._inside(arguments[where]))
        python = getattr(sys, "_base_executable", sys.executable)
        subprocess.run([python, "-m", "pip", "download", *arguments], cwd=self._inside("."), env=_own_pip(), check=True)

    def do_copy(self, words: str) -> None:
        """Copy from the project, or from another stage."""
        *sources, target = shlex.split(words)
        whence = self._source
        if sources[0].startswith("--from="):
            whence = self._stages[sources.pop(0).partition("=")[2]]
        for source in sources:
            found, place = whence / source.lstrip("/"), self._inside(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(found, place / found.name if place.is_dir() else place)

    def _inside(self, path: str) -> Path:
        return self.root / str(Path(self.settings.workdir) / path).lstrip("/")

    def do_workdir(self, words: str) -> None:
        """Change the folder."""
        self.settings.workdir = words
        self._inside(".").mkdir(parents=True, exist_ok=True)

    def do_env(self, words: str) -> None:
        """Set variables."""
        for word in shlex.split(words):
            name, _, value = word.partition("=")
            self.settings.environment[name] = value.replace("$PATH", self.settings.environment["PATH"])

    def do_label(self, words: str) -> None:
        """Set labels."""
        self.settings.labels |= dict(word.split("=", 1) for word in shlex.split(words))

    def do_shell(self, words: str) -> None:
        """Take another shell for RUN."""
        self._shell = json.loads(words)

    def do_user(self, words: str) -> None:
        """Set the user."""
        self.settings.user = words

    def do_expose(self, words: str) -> None:
        """Name ports."""
        self.settings.ports += words.split()

    def do_stopsignal(self, words: str) -> None:
        """Set the signal that asks for the end."""
        self.settings.stop_signal = words

    def do_healthcheck(self, words: str) -> None:
        """Set the command that says whether it is well."""
        self.settings.healthcheck = json.loads(words.partition("CMD ")[2])

    def do_entrypoint(self, words: str) -> None:
        """Set the program."""
        self.settings.entrypoint = json.loads(words)

    def do_cmd(self, words: str) -> None:
        """Set its usual arguments."""
        self.settings.command = json.loads(words)


def _own_pip() -> Mapping[str, str]:
    wanted = {"PATH", "HOME", "TMPDIR"}
    return {name: value for name, value in os.environ.items() if name in wanted or name.startswith(("PIP_", "SSL_"))}
