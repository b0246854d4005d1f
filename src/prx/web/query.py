"""Read the query of a request: what is misspelt or out of bounds is an error that names it."""

from __future__ import annotations

from starlette.requests import Request

from prx.core.errors import UsageError


def known(request: Request, names: set[str]) -> None:
    """Raise UsageError for a parameter that there is not: a misspelt one must not do something else than was meant."""
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in names:
            raise UsageError(f"there is no parameter {name[:80]!r}", hint=f"known: {', '.join(sorted(names))}")
        if given.count(name) > 1:
            raise UsageError(f"the parameter {name} is given {given.count(name)} times")


def number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """Return a whole number from the query; UsageError for anything else."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not least <= int(text) <= most:
        raise UsageError(f"{name}: found {text[:80]!r}, expected a whole number from {least} to {most}")
    return int(text)


def choice(request: Request, name: str, default: str, choices: tuple[str, ...]) -> str:
    """Return one of `choices` from the query; UsageError for anything else."""
    text = request.query_params.get(name, default)
    if text not in choices:
        raise UsageError(f"{name}: found {text[:80]!r}, expected one of {', '.join(choices)}")
    return text
