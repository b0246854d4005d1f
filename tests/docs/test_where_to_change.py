"""The newcomer's table is true: the changes are made, in the files that it names and no other, and work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "prx"
PAGE = (ROOT / "docs" / "explanation" / "where-to-change.md").read_text()
MOST_ROOMS = 3


@dataclass(frozen=True)
class Row:
    """One change: its files below `src/prx/`, and whether the page says that it is tried out."""

    change: str
    files: frozenset[str]
    tried: bool

    @property
    def rooms(self) -> set[str]:
        """The folders directly below `src/prx/`, those outside of backticked files (`runtime/`) included."""
        return {file.split("/")[0] for file in self.files}


def rows() -> Iterator[Row]:
    """Yield the rows of the page."""
    for line in PAGE.splitlines():
        if line.startswith("| ") and not line.startswith("| change"):
            change, files, _ = (cell.strip() for cell in line.strip("|").split(" | "))
            named = re.findall(r"`([a-z_]+/[\w/.]*)`", files)
            yield Row(change.removesuffix(" ✓"), frozenset(named), change.endswith("✓"))


ROWS = {row.change: row for row in rows()}


def test_fifteen_changes() -> None:
    """The page has fifteen changes, and says of most that they are tried out."""
    assert len(ROWS) == 15
    assert sum(row.tried for row in ROWS.values()) >= 5


@pytest.mark.parametrize("change", ROWS)
def test_the_files_exist_and_the_rooms_are_few(change: str) -> None:
    """Every file that a change touches is there, and no change needs more than three rooms."""
    row = ROWS[change]
    assert row.files
    assert len(row.rooms) <= MOST_ROOMS, row.rooms
    for file in row.files:
        path = SOURCE / file
        assert path.exists() or (path.name == "NAME.py" and path.parent.is_dir()), file


Edit = tuple[str, str]  # text that is there once, and what stands in its place


def before(anchor: str, *lines: str) -> Edit:
    """Insert lines before the line that begins with `anchor`."""
    return anchor, "\n".join([*lines, anchor])


def after(anchor: str, *lines: str) -> Edit:
    """Insert lines after the line `anchor`."""
    return anchor + "\n", "\n".join([anchor, *lines, ""])


@dataclass(frozen=True)
class Change:
    """A change, made: its edits by file, the files that it adds, and Python that prints `shows` then."""

    shows: str
    code: str
    edits: dict[str, list[Edit]]
    new: dict[str, str] = field(default_factory=dict)


COMMAND = """
import click

@click.command()
def fly() -> None:
    click.echo("flown")
"""
BACKEND = """
from prx.backends.none import NoneBackend

class OtherBackend(NoneBackend):
    def __init__(self, settings):
        super().__init__(settings)
        self.name = "other"
"""

CHANGES: dict[str, Change] = {
    "a new verdict": Change(
        "overheated WAIT too hot",
        """
from prx.core.conditions import CONDITIONS
from prx.core.diagnosis import Policy, diagnose
from prx.core.evidence import ChildExit, Evidence, ExitCause
from prx.core.status_codes import StatusSet
from prx.core.verdicts import ACTIONS
end = ChildExit(77, None, ExitCause.CRASH)
found = diagnose(Evidence(at=0.0, exit=end), Policy(StatusSet.parse("2xx")))
print(found.verdict, ACTIONS[found.verdict].name, CONDITIONS[found.verdict].title)
""",
        {
            "core/verdicts.py": [
                after('    HEALTHY = "healthy"', '    OVERHEATED = "overheated"'),
                after("    Verdict.HEALTHY: Action.NONE,", "    Verdict.OVERHEATED: Action.WAIT,"),
            ],
            "core/conditions.py": [
                before("        Verdict.HEALTHY:", '        Verdict.OVERHEATED: Condition("wait", "too hot"),')
            ],
            "core/diagnosis.py": [
                before(
                    "    if verdict := _EXIT_VERDICTS",
                    "    if child_exit.code == 77:",
                    '        return Diagnosis(Verdict.OVERHEATED, "it is hot")',
                )
            ],
        },
    ),
    "a new cloudflared log line": Change(
        "LOST",
        """
from prx.backends.cloudflare.classify import parse_line
print(parse_line("stderr", "2026-01-01T00:00:00Z INF Flew away connIndex=0").kind.name)
""",
        {"backends/cloudflare/classify.py": [after("_EXACT: Final = {", '    "Flew away": LineKind.LOST,')]},
    ),
    "a new configuration key": Change(
        "7.0",
        "from prx.config.schema import CloudflareSettings; print(CloudflareSettings().altitude)",
        {"config/schema.py": [before("    cloudflared_path: str = key(", '    altitude: float = key(7.0, "How high.")')]},
    ),
    "another backend": Change(
        "other",
        """
from prx.backends import create
from prx.config.schema import TunnelSettings
print(create(TunnelSettings(backend="other", public_url="https://a.example")).name)
""",
        {
            "config/schema.py": [('backend: Literal["cloudflare"', 'backend: Literal["other", "cloudflare"')],
            "backends/__init__.py": [
                after(
                    'FACTORIES: dict[str, Callable[[TunnelSettings], Backend]] = {"cloudflare": _cloudflare, "none": _none}',
                    "def _other(settings: TunnelSettings) -> Backend:",
                    "    from prx.backends.other import OtherBackend",
                    "    return OtherBackend(settings)",
                    'FACTORIES["other"] = _other',
                )
            ],
        },
        {"backends/other.py": BACKEND},
    ),
    "another fault for the lab": Change(
        "fog for 3",
        """
import asyncio
from prx.lab import Lab, LabConfig
from prx.lab.edge.faults.notation import from_json

async def main():
    async with Lab.start(LabConfig()) as lab:
        lab.inject(from_json({"fault": "Fog", "seconds": 3}))

asyncio.run(main())
""",
        {
            "lab/faults.py": [
                before(
                    "@dataclass(frozen=True, slots=True)\nclass Stall:",
                    "@dataclass(frozen=True, slots=True)",
                    "class Fog:",
                    "    seconds: float = 1.0",
                    "",
                ),
                after("    | Stall", "    | Fog"),
            ],
            "lab/edge/injector.py": [
                before(
                    "            case faults.Stall():",
                    "            case faults.Fog(seconds=seconds):",
                    '                print(f"fog for {seconds:g}")',
                )
            ],
        },
    ),
    "a column in `prx status`": Change(
        "127.0.0.1:80",
        """
from prx.ui.status_lines import status_lines
row = dict(name="web", state="ready", verdict="", reason="", hint="", next_retry_in=None, connectors=[], url="", since=None)
(line, *_) = status_lines([row | {"local_addr": "", "backend": "127.0.0.1:80"}], width=200, now=0.0)
print(line.split()[-1])
""",
        {
            "ui/status_lines.py": [
                after(
                    '    return [\n        *([f"→ {tunnel[\'local_addr\']}"] if tunnel["local_addr"] else []),',
                    '        tunnel["backend"],',
                )
            ]
        },
    ),
    "a new event": Change(
        "flown 9 m high",
        """
from prx.core.events import Event, Flown
from prx.ui.event_lines import describe
event = Event(1, 0.0, Flown(tunnel="web", height=9))
print(event.to_json()["event"], describe(event, named=False).text)
""",
        {
            "core/events.py": [
                before(
                    "@value_class(frozen=True, slots=True, eq=False, repr=False)\nclass Event(Value):",
                    "@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)",
                    "class Flown(Fact):",
                    '    name: ClassVar[str] = "flown"',
                    "    height: int",
                    "",
                )
            ],
            "ui/event_lines.py": [
                before(
                    "        case events.Dropped(",
                    "        case events.Flown(height=height):",
                    '            return Line("info", f"{height} m high")',
                )
            ],
        },
    ),
    "a new command": Change(
        "flown",
        "import sys; from prx.cli import main; sys.argv = ['prx', 'fly']; main()",
        {"cli/root.py": [after("COMMANDS = {", '    "fly": Lazy("prx.cli.fly:fly", "Fly."),')]},
        {"cli/fly.py": COMMAND},
    ),
    "another secret store": Change(
        "hello",
        "from prx.secrets.sources import SecretSources; print(SecretSources().resolve('backwards:olleh').reveal())",
        {
            "secrets/sources.py": [
                ("PREFIXES: Final = (", 'PREFIXES: Final = ("backwards", '),
                before('            "file": self._from_file,', '            "backwards": lambda name: name[::-1].encode(),'),
            ]
        },
    ),
    "a new doctor check": Change(
        "weather",
        """
import asyncio
from prx.backends.base import EdgeSite
from prx.config.schema import Config
from prx.doctor.context import Context
from prx.doctor.examine import examine
site = EdgeSite(doh=("http://127.0.0.1:9/dns-query",), public_scheme="http", public_port=9)
print([finding.check for finding in asyncio.run(examine(Context(Config(), {}, site)))][0])
""",
        {
            "doctor/host.py": [
                before(
                    "async def check_network(",
                    "async def check_weather(context):",
                    '    return [Finding("weather", Mark.OK, "dry")]',
                )
            ],
            "doctor/examine.py": [
                before('    yield "network", "",', '    yield "weather", "", host.check_weather(context)'),
            ],
        },
    ),
    "another public-DNS resolver": Change(
        "https://192.0.2.1/dns-query",
        """
from prx.backends.base import CLOUDFLARE
from prx.runtime.probes.resolver import Resolver
Resolver(CLOUDFLARE.doh)
print(CLOUDFLARE.doh[0])
""",
        {"backends/base.py": [after("PUBLIC_DOH = (", '    "https://192.0.2.1/dns-query",')]},
    ),
    "a new exit cause": Change(
        "frozen misconfigured",
        """
from prx.backends.cloudflare.classify import parse_line
from prx.backends.cloudflare.exits import classify_exit
from prx.core.diagnosis import Policy, diagnose
from prx.core.evidence import Evidence
from prx.core.exit_status import ExitStatus
from prx.core.status_codes import StatusSet
end = classify_exit(ExitStatus(code=1), [parse_line("stderr", "wings are frozen")], age=1.0)
print(end.cause, diagnose(Evidence(at=0.0, exit=end), Policy(StatusSet.parse("2xx"))).verdict)
""",
        {
            "core/evidence.py": [before('    AUTH = "auth"', '    FROZEN = "frozen"')],
            "core/diagnosis.py": [after("_EXIT_VERDICTS = {", "    ExitCause.FROZEN: Verdict.MISCONFIGURED,")],
            "backends/cloudflare/exits.py": [after("_CAUSES: Final = (", '    _cause("wings are frozen", ExitCause.FROZEN),')],
        },
    ),
    "another pinned cloudflared": Change(
        "2099.1.0",
        "from prx.install.pinned import pinned_for; print(pinned_for(('linux', 'amd64')).version)",
        {"install/pinned.py": [("PINNED: Final = Release(\n    ", 'PINNED: Final = Release(\n    "2099.1.0" or ')]},
    ),
    "a word on the panel": Change(
        "Ctrl-C lands",
        """
from rich.console import Console
from prx.core.status import TunnelStatus
from prx.ui.panel import panel_lines
status = TunnelStatus(name="web", local_addr="127.0.0.1:80")
Console(width=80).print(*panel_lines([status], {}, now=0.0, size=(80, 24)), sep="\\n")
""",
        {"ui/panel.py": [("Ctrl-C stops", "Ctrl-C lands")]},
    ),
}


def test_what_the_page_marks_is_tried() -> None:
    """The marks of the page are those of the changes below."""
    assert {row.change for row in ROWS.values() if row.tried} == set(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_the_change_works_in_these_files(name: str, tmp_path: Path) -> None:
    """Made in a copy of the source, in files that its row names, the change works."""
    change, row = CHANGES[name], ROWS[name]
    folder = tmp_path / "prx"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file, edits in change.edits.items():
        assert file in row.files, f"the row of {name!r} does not name {file}"
        text = (folder / file).read_text()
        for old, new in edits:
            assert text.count(old) == 1, f"{file} has {text.count(old)} times: {old!r}"
            text = text.replace(old, new)
        (folder / file).write_text(text)
    for file, text in change.new.items():
        assert f"{file.rpartition('/')[0]}/NAME.py" in row.files, f"the row of {name!r} names no new file for {file}"
        (folder / file).write_text(text)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", change.code], env=environ, capture_output=True, text=True, check=False)
    assert change.shows in done.stdout, done.stderr
