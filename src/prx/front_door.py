"""Public names that are imported at their first use, so that importing a package costs nothing."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # see prx/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def late(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return a `__getattr__` (PEP 562) for `package`; `homes`: name → the module that defines it, "" for a module itself."""

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if home := homes[name]:
            return getattr(import_module(home), name)
        return import_module(f"{package}.{name}")

    return get
