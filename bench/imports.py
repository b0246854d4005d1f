"""Run a prx command, and write what each import of it cost: memory and time, by package.

    python -m bench.imports FILE start 8080 …

Each module is charged with what the process grew by while it was loaded and run, less what the modules cost that it imported
in turn. A page that the allocator had at hand costs nothing, so a small module can show 0.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int | str = "self") -> int:
    """Return the resident memory of a process in bytes."""
    with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - pathlib would be an import of its own
        return int(file.read().split()[1]) * _PAGE


class Costs:
    """What has been imported so far: `rows` holds (module, bytes, seconds) in the order in which they were complete."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, float]] = []
        self._inner: list[list[float]] = []

    def measured(self, name: str, work: Any) -> Any:
        """Return what `work()` gives, and charge `name` with it."""
        self._inner.append([0, 0])
        memory, began = resident(), time.perf_counter()
        try:
            return work()
        finally:
            grown, took = resident() - memory, time.perf_counter() - began
            inner = self._inner.pop()
            self.rows.append((name, int(grown - inner[0]), took - inner[1]))
            if self._inner:
                self._inner[-1][0] += grown
                self._inner[-1][1] += took


class _Loader:
    """A loader that is measured."""

    def __init__(self, loader: Any, costs: Costs) -> None:
        self._loader = loader
        self._costs = costs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self._costs.measured(spec.name, lambda: self._loader.create_module(spec))
        return found

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader  # importlib.resources and pickles ask for the real one
        self._costs.measured(module.__name__, lambda: self._loader.exec_module(module))


class _Finder:
    """The first finder: it asks the others, and has what they find measured."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self._costs)  # type: ignore[assignment]
                return spec
        return None


def main() -> int:
    """Run the command and write the costs as JSON: [[module, bytes, seconds], …], the bare interpreter first."""
    file, *arguments = sys.argv[1:]
    costs = Costs()
    costs.rows.append(("(bare Python)", resident(), 0.0))
    sys.meta_path.insert(0, _Finder(costs))
    from prx.cli import main as prx

    code = prx(arguments)
    Path(file).write_text(json.dumps(costs.rows))
    return code


if __name__ == "__main__":
    sys.exit(main())
