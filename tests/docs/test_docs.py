"""What is written down is true."""

import random
import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from prx.cli.root import COMMANDS, cli
from prx.core import effects as do
from prx.core import events, inputs
from prx.core.backoff import RATE_LIMITED, RESTART
from prx.core.causes import RESTART_CHANGES, Cause
from prx.core.conditions import CONDITIONS
from prx.core.evidence import ChildExit, ExitCause
from prx.core.machine import Machine
from prx.core.signal_table import BY_NAME, Meaning
from prx.core.states import TRANSITIONS, ChildState, MachineSettings, diagram
from prx.core.verdicts import ACTIONS, BLUNT, Action, Diagnosis, Verdict

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def wander(steps: int, seed: int) -> set[tuple[str, str]]:
    """Feed a machine at random and return every change of state that it made."""
    chance = random.Random(seed)
    machine = Machine("t", MachineSettings(max_failures=1))
    seen: set[tuple[str, str]] = set()
    remedies = [None, None, None, Action.REPLACE, Action.REPLACE_NOW, Action.COUNT, Action.SWITCH_PROTOCOL]
    for now in range(steps):
        verdict = Diagnosis(
            chance.choice(list(Verdict)), "seen", because=chance.choice(list(Cause)), remedy=chance.choice(remedies)
        )
        run, end = machine.run, ChildExit(1, None, chance.choice(list(ExitCause)))
        choices: list[inputs.Input] = [inputs.Start(), inputs.Stop(), inputs.Restart("asked"), inputs.Woken("network")]
        choices += [inputs.Start(retry_in=9, attempt=1)]
        if machine.child.state is ChildState.ALIVE:
            choices += [inputs.Checked(run, verdict)] * 6 + [inputs.Exited(run, 1, end, verdict)]
        elif machine.child.state is ChildState.SPAWNING:
            choices += [inputs.Spawned(run, 1, "1")] * 8 + [inputs.SpawnFailed(run, verdict)]
        choices += [inputs.TimerFired(name, token) for name, token in machine.timers.items()]
        for effect in machine.handle(now * 100.0, chance.choice(choices)):
            if isinstance(effect, do.Publish) and isinstance(effect.fact, events.StateChanged):
                seen.add((str(effect.fact.old), str(effect.fact.new)))
    return seen


def test_the_state_diagram_is_that_of_the_code() -> None:
    """The diagram in the architecture page is drawn from the table, and a machine that is fed at random uses all of it."""
    assert f"```mermaid\n{diagram()}\n```" in (DOCS / "explanation" / "architecture.md").read_text()
    made = set().union(*(wander(20_000, seed) for seed in range(3)))
    assert made == {(str(old), str(new)) for old, news in TRANSITIONS.items() for new in news}


ACTION_WORDS = {
    Action.WAIT: "waits",
    Action.NONE: "nothing",
    Action.REPORT: "reports it",
    Action.RESTART: "restarts it",
    Action.RESTART_RATE_LIMITED: "restarts late",
    Action.FAIL: "stops for good",
}


def rows(heading: str) -> dict[str, list[str]]:
    """Return the table below a heading of the page on output: first cell without backticks → the other cells."""
    section = (DOCS / "reference" / "output.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]
    return {first.strip("`"): rest for first, *rest in cells}


def test_the_table_of_verdicts_is_that_of_the_code() -> None:
    """The page on output names every verdict with its one action and the time after which it is shown."""
    shown = {code: [cells[1], cells[2]] for code, cells in rows("Verdicts").items() if code in set(Verdict)}
    assert shown == {
        str(verdict): [
            ACTION_WORDS[ACTIONS[verdict]],
            f"{CONDITIONS[verdict].visible_after:g} s" if CONDITIONS[verdict].visible_after else "at once",
        ]
        for verdict in Verdict
    }


def test_the_table_of_causes_is_that_of_the_code() -> None:
    """The page on output names every cause that a restart changes something about, and what that is."""
    written = {name: cells[0] for name, cells in rows("Verdicts").items() if " " in name or name in set(Cause)}
    assert written == {str(cause): changes for cause, changes in RESTART_CHANGES.items() if changes}


def test_the_waits_and_what_counts_are_those_of_the_code() -> None:
    """The page on output gives every wait between restarts, and the verdicts that `health_check_restart` is about."""
    text = " ".join((DOCS / "reference" / "output.md").read_text().split())
    for schedule in (RESTART, RATE_LIMITED):
        *first, last = (f"{delay:g}" for delay in schedule.delays)
        assert f"{', '.join(first)}, then always {last} s" in text
    blunt = text.split('`health_check_restart = "any"`, ')[1].split(" count, too")[0]
    assert set(re.findall(r"`(\w+)`", blunt)) == {str(verdict) for verdict in BLUNT}


def test_the_table_of_events_is_that_of_the_code() -> None:
    """The page on output names every event with all its fields, in their order."""
    written = {name: re.findall(r"`(\w+)`", cells[0]) for name, cells in rows("Events").items()}
    kinds = events.Fact.__subclasses__()
    assert written == {kind.name: [field.name for field in fields(kind) if field.name != "tunnel"] for kind in kinds}


MEANINGS = {Meaning.STOP: "a stop", Meaning.LIMIT: "a limit", Meaning.RELOAD: "a reload", Meaning.NOTHING: "nothing"}


def test_the_table_of_signals_is_that_of_the_code() -> None:
    """The page on output names every signal that prx catches, with what it asks for."""
    shown = rows("Signals").items()
    written = {name.strip("`"): cells[0].split(":")[0] for names, cells in shown for name in names.split()}
    assert written == {name: MEANINGS[entry.meaning] for name, entry in BY_NAME.items()}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_every_page_is_found_from_the_readme(page: Path) -> None:
    """Who reads the README finds each page."""
    assert f"]({page.relative_to(ROOT)})" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the project, and to a heading in it, is right."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_written_down_exist(page: Path) -> None:
    """Every `prx WORD` in a code block or in backticks is a command, and every `make WORD` a target."""
    text = page.read_text()
    code = "\n".join(
        [*re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE), *re.findall(r"`([^`\n]+)`", text)]
    )
    named = set(re.findall(r"(?:^|[$·(] *)prx ([a-z]+)", code, re.MULTILINE))
    assert named <= set(COMMANDS), f"{page.name} names {named - set(COMMANDS)}"
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", code, re.MULTILINE)) <= targets


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that the words after `prx` lead to, and the words behind its name."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and (found := command.get_command(click.Context(command), words[0])):
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_are_written_down_exist(page: Path) -> None:
    """Every option of a `prx` command line in a code block is one that the command takes."""
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in re.findall(r"^[$#]? ?(?:[A-Z_]+=\S+ )*(?:\S*/)?prx ([^#\n]+)", block, re.MULTILINE):
            for part in line.split(" · "):
                command, words = command_of(part.removeprefix("prx ").split(" -- ")[0].split())
                known = {option for param in command.params for option in [*param.opts, *param.secondary_opts]} | {"--help"}
                named = {re.split(r"[=)]", word)[0] for word in words if re.match(r"--?[a-z]", word)}
                assert named <= known, f"{page.name}: prx {part}: {named - known}"


# Roles act (the operator, a visitor, another process), and conditions begin with "if".
NOT_HERE = re.compile(r"\b(?:nobody|somebody|anybody|everybody|whoever|for ever|anew|he|his|him|perhaps)\b", re.IGNORECASE)
EXEMPT = {"CHANGELOG.md", "CONTRIBUTING.md"}  # of the past, and names the words


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in EXEMPT], ids=lambda page: page.name)
def test_pages_speak_of_roles(page: Path) -> None:
    """No page has an actor without a role, nor words that a technical reader stumbles over."""
    text = page.read_text()
    for quoted in RESTART_CHANGES.values():
        text = text.replace(quoted, "") if quoted else text
    text = re.sub(r"`[^`\n]*`", "", text)
    assert NOT_HERE.findall(text) == []


OLD_MENUS = re.compile(r"Networks(?:,| →| ›| >) ?Tunnels|Access → |Networks → ")


def test_hints_name_the_menus_of_today() -> None:
    """Tunnels moved to Networking › Tunnels on 2026-02-20: no hint and no page refers to where they were."""
    files = [*PAGES, *sorted((ROOT / "src").rglob("*.py"))]
    exempt = {"diagnosis.py"}
    found = [
        f"{file}: {match[0]}" for file in files if file.name not in exempt for match in OLD_MENUS.finditer(file.read_text())
    ]
    assert found == []


def test_the_table_of_the_api_is_that_of_the_code() -> None:
    """The reference of the API names every path and method that there is, and no other."""
    from prx.web.openapi import document

    page = (DOCS / "reference" / "api.md").read_text()
    made = {f"{method.upper()} {path}" for path, item in document()["paths"].items() for method in item}
    assert set(re.findall(r"^\| `((?:GET|POST) [^`]+)`", page, re.MULTILINE)) == made
