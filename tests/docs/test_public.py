"""The front door: what is public is there, costs nothing to reach, and is all that the pages name."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import prx

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A name that is an installer's own, or a path. `prx` on the index is another project, `prx-tunnel` is not there yet.
INSTALL = re.compile(r"(?:\bpipx?|\buv pip|\buv tool) (?:install|run) ([^\n`#]*)|\b(?:uvx) ([^\n`#]*)")


def modules_below(module: ModuleType) -> Iterator[ModuleType]:
    """Yield a public module and the modules that its `__all__` names."""
    yield module
    for name in module.__all__:
        if isinstance(found := getattr(module, name), ModuleType):
            yield from modules_below(found)


PUBLIC = {module.__name__: module for module in modules_below(prx)}


def imports_in(block: str) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of each name that a block of Python takes from prx; the name is "" for a bare import."""
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "prx":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "prx")


def test_what_is_public() -> None:
    """`prx.__all__` names tunnels, their errors and four modules; nothing else is public but modules that those name."""
    assert {name for name in prx.__all__ if name[0].islower()} == {"access", "asgi", "lab", "open_tunnel", "testing", "tunnel"}
    assert {name for name in prx.__all__ if name.endswith("Error")} == {
        "NotReadyError", "NotRunningError", "PermanentError", "PrxError", "UnresponsiveError", "UsageError",
    }  # fmt: skip
    assert set(PUBLIC) == {
        "prx",
        "prx.access",
        "prx.access.asgi",
        "prx.asgi",
        "prx.access.wsgi",
        "prx.lab",
        "prx.lab.events",
        "prx.lab.faults",
        "prx.testing",
    }


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there(name: str) -> None:
    """Each name in an `__all__` can be imported, and no other name is invented."""
    module = importlib.import_module(name)
    assert module.__all__ == sorted(set(module.__all__))
    for public in module.__all__:
        assert getattr(module, public) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


@pytest.mark.parametrize(
    "statement",
    ["import prx", "import prx.asgi", "import prx.access", "import prx.lab", "import prx.testing", "import prx.testing.plugin"],
)
def test_the_front_door_costs_nothing(statement: str) -> None:
    """Importing a public package loads nothing of the library but the package itself and no library of others."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    argv = [sys.executable, "-c", code]
    if statement.endswith("plugin"):
        argv[2] = f"import pytest; {code}"
    loaded = set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())
    asked = statement.removeprefix("import ").split(".")
    assert {name for name in loaded if name.split(".")[0] == "prx"} == {
        "prx.front_door",
        *(".".join(asked[:depth]) for depth in range(1, len(asked) + 1)),
    }
    assert {name.split(".")[0] for name in loaded} <= sys.stdlib_module_names | {"prx"}
    assert not loaded & {"asyncio", "ssl", "logging", "email", "http", "importlib.metadata"}


def test_python_m_prx_is_prx() -> None:
    """`python -m prx` is the command, exit code included."""
    version = subprocess.run([sys.executable, "-m", "prx", "--version"], capture_output=True, text=True, check=False)
    assert (version.returncode, version.stdout) == (0, f"prx {prx.__version__}\n")
    wrong = subprocess.run([sys.executable, "-m", "prx", "fly"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_import_only_what_is_public(page: Path) -> None:
    """Every `import` from prx in a block of Python on a page is of a public name."""
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for module, name in imports_in(block):
            assert module in PUBLIC, f"{page.name} imports from {module}, which is private"
            assert not name or name in PUBLIC[module].__all__, f"{page.name} imports {name}, which {module} does not publish"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_install_from_a_checkout(page: Path) -> None:
    """No page tells people to install from an index what is not on it, nor what has the name of another project."""
    for first, second in INSTALL.findall(page.read_text()):
        words = (first or second).split()
        assert not {"prx", "prx-tunnel"} & {re.split(r"[\[=<>@]", word)[0] for word in words}, f"{page.name}: {first or second}"


IMPORTED_AS = {"pycapnp": "capnp", "pyyaml": "yaml"}


def group(name: str) -> set[str]:
    """Return the modules of the libraries that stand below `# name:` in the dependencies of pyproject.toml."""
    listed = (ROOT / "pyproject.toml").read_text().split("\ndependencies = [\n")[1].split("\n]\n")[0]
    lines = re.split(r"^  # ", listed, flags=re.MULTILINE)
    (found,) = (part for part in lines if part.startswith(f"{name}:"))
    libraries = re.findall(r'^  "([a-z0-9]+)', found, re.MULTILINE)
    return {IMPORTED_AS.get(library, library) for library in libraries}


def test_only_the_lab_imports_the_libraries_of_the_lab() -> None:
    """The group `lab` in pyproject.toml can become an extra by moving its lines: no other room needs its libraries."""
    lab = group("lab")
    assert {"h2", "aioquic", "capnp", "wsproto"} <= lab
    taken = re.compile(rf"^\s*(?:import|from) ({'|'.join(lab)})\b", re.MULTILINE)
    importers = {
        file.relative_to(ROOT / "src" / "prx").parts[0]
        for file in (ROOT / "src").rglob("*.py")
        if taken.search(file.read_text())
    }
    assert importers == {"lab"}
