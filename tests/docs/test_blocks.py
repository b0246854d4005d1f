"""Every block of code on the README and the pages is run by a test, or says above it why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.blocks import HELD, PAGES, ROOT, Block, all_blocks, blocks_of, loopholes
from tests.docs.page_run import PageRun, Step, differs, steps_of

from prx.config.load import load
from prx.secrets.value import Secret

BLOCKS = all_blocks()
RUN = {page: blocks for page in PAGES if (blocks := [b for b in blocks_of(page) if b.kind in {"", "file"}])}
RUN = {page: blocks for page, blocks in RUN.items() if any(b.language in {"sh", "console"} and not b.kind for b in blocks)}


def test_every_block_is_held() -> None:
    """A block without a mark is one that is run here; a mark names a test that there is, or a reason of some words."""
    wrong = []
    for block in BLOCKS:
        if block.kind == "run by":
            path, _, name = block.words.partition("::")
            source = (ROOT / path).read_text() if (ROOT / path).is_file() else ""
            if not re.search(rf"^(?:async )?def {name}\(", source, re.MULTILINE):
                wrong.append(f"{block.place}: there is no test {block.words}")
            elif missing := _missing(block, source):
                wrong.append(f"{block.place}: {path} neither reads the page nor runs {', '.join(missing)}")
        elif block.kind == "not run":
            if len(block.words.split()) < 3:
                wrong.append(f"{block.place}: {block.words!r} is no reason")
        elif block.language == "python" and not block.kind:
            wrong.append(f"{block.place}: who runs it?")
    assert wrong == []


def _missing(block: Block, source: str) -> list[str]:
    """Return the words of a block's commands that a test which does not read the page does not have either."""
    if block.page.name in source or block.page.stem in source or block.language not in {"sh", "console"}:
        return []
    words = {word for step in steps_of(block) for word in step.command.split() if re.fullmatch(r"(?:--)?[a-z][a-z-]+", word)}
    return sorted(word for word in words if word not in source)


def test_no_command_slips_past() -> None:
    """A fence of another language, or without one, shows what prx prints, never what a reader types: no test would run it."""
    pages = [*PAGES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "deploy").rglob("*.md"))]
    assert [where for page in pages for where in loopholes(page)] == []


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "toml" and b.kind != "not run"], ids=lambda b: b.place)
def test_every_configuration_loads(block: Block, tmp_path: Path) -> None:
    """Each block of TOML is a configuration without a mistake, with the secrets that it names."""
    file = tmp_path / "prx.toml"
    file.write_text(block.text)
    file.chmod(0o600)
    loaded = load(file, {}, resolve_secret=lambda text: Secret("a-secret-that-is-long-enough"))
    assert loaded.config.tunnels


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_work(page: Path, tmp_path: Path) -> None:
    """Typed in their order, in an empty home, with the lab as the edge, they work, and print what the page shows."""
    blocks = RUN[page]
    names = {block.words for block in blocks if block.kind == "file"}
    run = PageRun(tmp_path, serves="app.py" not in names)
    try:
        for block in blocks:
            if block.kind == "file":
                run.write(block.words, block.text)
            elif block.language in {"sh", "console"}:
                for step in steps_of(block):
                    run.take(step)
    finally:
        run.close()


# ---------------------------------------------------------------------- that the check itself checks


def page(folder: Path, text: str) -> list[Block]:
    """Return the blocks of a page with this text."""
    file = folder / "page.md"
    file.write_text(text)
    return blocks_of(file)


def test_marks_are_read(tmp_path: Path) -> None:
    """The line directly above a fence is its mark; indented fences count, other languages do not."""
    text = "<!-- not run: needs an account -->\n```sh\nx\n```\n\n```console\n$ y\n```\n"
    text += "  <!-- file: a.py -->\n  ```python\n  z\n  ```\n```\nq\n```\n"
    found = [(block.language, block.kind, block.words, block.text) for block in page(tmp_path, text)]
    assert found == [
        ("sh", "not run", "needs an account", "x\n"),
        ("console", "", "", "$ y\n"),
        ("python", "file", "a.py", "z\n"),
    ]
    assert set(HELD) == {"sh", "console", "python", "toml"}


@pytest.mark.parametrize(
    "text",
    [
        "```bash\nprx status\n```",
        "```sh title=x\nprx status\n```",
        "```Console\n$ prx status\n```",
        "~~~shell\nprx status\n~~~",
        "```text\nprx status\n```",
        "```\n$ ls\n```",
        "1. A list:\n   ```text\n   $ prx status\n   ```",
        "> ```\n> $ prx status\n> ```",
        "````text\n```\ncurl -s http://x\n````",
        "Indented:\n\n    $ prx status\n",
    ],
)
def test_other_ways_to_write_a_command_are_found(tmp_path: Path, text: str) -> None:
    """However a command is written on a page, it is held, or it is named."""
    file = tmp_path / "page.md"
    file.write_text(f"{text}\n")
    assert loopholes(file)


@pytest.mark.parametrize(
    "fence", ["```sh", "``` sh", "```sh  ", "~~~sh", "````sh", "  ```sh", "> ```sh"], ids=lambda fence: fence.replace(" ", "_")
)
def test_every_fence_is_read(tmp_path: Path, fence: str) -> None:
    """However a fence is written, its block is one that is run, and nothing behind it is swallowed."""
    marks = fence.strip(" >sh")
    found = page(tmp_path, f"{fence}\nprx status\n{marks}\n\n```console\n$ y\n```\n")
    assert [(block.language, block.text) for block in found] == [("sh", "prx status\n"), ("console", "$ y\n")]


def test_commands_are_read(tmp_path: Path) -> None:
    """Remarks are left out, lines go on behind a backslash, `·` parts commands, and what is shown belongs to the one above."""
    sh, console = page(
        tmp_path, "```sh\na b   # remark\n# remark\nc · d\ne \\\n  f\n```\n```console\n$ g   # remark\nshown #0\n\n# h\n```\n"
    )
    assert [step.command.split() for step in steps_of(sh)] == [["a", "b"], ["c"], ["d"], ["e", "f"]]
    assert list(steps_of(console)) == [Step("g", ["shown #0"]), Step("h", [])]


@pytest.mark.parametrize(
    ("said", "shown", "same"),
    [
        ("a\nb\nc\n", ["a", "c"], True),
        ("a\nb\n", ["b", "a"], False),
        ("public at http://x.localhost:1\n", ["public at http://….localhost:…"], True),
        ("8080  degraded\n", ["8080  ready"], False),
        ("state      ready\n", ["  state ready"], True),
        ("anything\n", ["…"], True),
        ("", ["x"], False),
    ],
)
def test_what_is_shown_is_compared(said: str, shown: list[str], same: bool) -> None:
    """Every line has to come, in order; `…` is anything, and blanks are not counted."""
    assert (differs(said, shown) == "") is same
