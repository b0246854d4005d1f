"""Load the configuration: defaults < file < environment < command line, every value with its origin, all mistakes at once.

Each layer is checked by itself, so that a mistake is reported with its own place even when a higher layer hides it. What passes
is merged, secrets are resolved (only those that count in the end), and what must hold between keys is checked last; a mistake
of that kind is kept back while one of the keys that it follows from is itself mistaken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any

from prx.config import cross
from prx.config.checker import read
from prx.config.expand import holds_reference, map_strings
from prx.config.keys import dotted, find_key, keys_of
from prx.config.layers import STORE_PREFIX, Layer, command_line_layer, environment_layer, file_layer, merge, nested
from prx.config.origins import Origin, Origins, Problem
from prx.config.places import Finding
from prx.config.positions import KeyPath
from prx.config.programs import absent_programs
from prx.config.schema import DEFAULT_TUNNEL, Config, ConfigFile, Shared, TunnelSettings
from prx.config.source import Source, parse_source, read_source
from prx.core.errors import ConfigError, PrxError, ShortageError
from prx.core.value import Value, value_class
from prx.files.rule import Claim
from prx.secrets.sources import describe, split_reference
from prx.secrets.value import Secret

ResolveSecret = Callable[[str], Secret]


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Loaded(Value):
    """A sound configuration and where it came from.

    origins: by dotted name, every key of every tunnel. path: the file, if any. warnings: settings without effect, as lines.
    written: by dotted name, what stands in the source for each value that a secret was or has to be put into. secrets: all that
    was resolved, for the redaction of every output. files: what stands behind `file:` if a secret was read from a file.
    declares: the file has a tunnel of its own. not_run: by dotted name, the `cmd:` references that were left as they are.
    """

    config: Config
    origins: Mapping[str, Origin]
    path: Path | None
    warnings: tuple[str, ...] = ()
    written: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    files: tuple[str, ...] = ()
    declares: bool = False
    not_run: Mapping[str, str] = field(default_factory=dict)


Also = Callable[[Loaded], Iterable[Finding]]


def load(
    path: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
    *,
    resolve_secret: ResolveSecret | None = None,
    tokens_follow: bool = False,
    claim: Claim = Claim.FOUND,
    run_commands: bool = True,
    text: str | None = None,
    also: Also = lambda _: (),
) -> Loaded:
    """Return the configuration from a file (None: no file), the environment and the command line.

    `claim` says how prx came to the file, which decides whose it may be.

    `overrides` maps dotted names, such as `tunnel.local_addr`, to values. `resolve_secret` turns what stands in the place of a
    secret (`secret:NAME`, `file:PATH` …, or the secret itself) into the secret; it may block. Without it references stay
    unresolved: a secret then holds its reference as text, and another key that refers to a secret keeps its default.

    With `tokens_follow` a named tunnel needs no token: the lab makes its own. Without `run_commands` no program of a `cmd:`
    reference is run: the secret holds the reference then. `text` is what the file is to hold, instead of what it holds now.
    `also` yields further mistakes of what it is given: if there are mistakes, all that is right of the configuration, with the
    defaults in the place of what is not.

    Raises ConfigError with every mistake, each as `PLACE: KEY: what was found, what is expected`; ShortageError if the file, or
    a secret, cannot be read for now.
    """
    source = _source(path, text, claim, environ)
    merged = _merged(source, environ, overrides or {})
    written = merged.references()
    files = tuple(text[5:] for text in merged.written.values() if isinstance(text, str) and text.startswith("file:"))
    not_run = {} if run_commands and resolve_secret else _commands(merged)
    secrets = _resolve(merged, resolve_secret, not_run)
    if merged.sound is None:
        merged.check({})
    file = merged.sound or read(ConfigFile, nested(merged.values, merged.tables))
    merged.problems.extend(_findings(cross.mistakes(file, tokens_follow=tokens_follow), merged))
    folder = Path() if path is None else path.parent
    config = _config(file, folder)
    loaded = Loaded(
        config=config,
        origins=_origins(file, merged),
        path=path,
        warnings=(
            *_empty(path, source),
            *(str(problem) for problem in _findings(cross.warnings(file), merged)),
            *absent_programs(config, folder),
        ),
        written={dotted(key): value for key, value in written.items()},
        secrets=secrets,
        files=files,
        declares=source.declares_tunnels,
        not_run={dotted(key): describe(text) for key, text in not_run.items()},
    )
    merged.problems.extend(_findings(also(loaded), merged))
    if merged.problems:
        raise ConfigError([str(problem) for problem in sorted(merged.problems, key=lambda problem: problem.order)])
    return loaded


def _source(path: Path | None, text: str | None, claim: Claim, environ: Mapping[str, str]) -> Source:
    if path is None:
        return Source(Path(), {})
    return read_source(path, claim, environ) if text is None else parse_source(path, text)


def _merged(source: Source, environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Layer:
    """Return what file, environment and command line say together, with the mistakes of each."""
    layers = [file_layer(source, environ), environment_layer(environ, source), command_line_layer(overrides, source)]
    for layer in layers:
        layer.check(layer.references())
    layers[0].problems.extend(_exposed_secrets(layers[0], source))
    return merge(layers)


def _empty(path: Path | None, source: Source) -> Iterator[str]:
    """Warn of a file that says nothing of tunnels: a full disk, or a write that was cut off, leaves such files."""
    if path is not None and not source.declares_tunnels:
        yield f"{path}: declares no tunnel, so [tunnel] with its defaults is used"


def _commands(merged: Layer) -> dict[KeyPath, str]:
    """Return the secrets that a program would have to be run for, as they stand in their source."""
    found = {}
    for path, value in merged.values.items():
        key = find_key(path)
        if key is not None and key.is_secret and isinstance(value, str) and split_reference(value)[0] == "cmd":
            found[path] = value
    return found


def _config(file: ConfigFile, folder: Path) -> Config:
    """Return the configuration that the rest of prx sees: tunnels by name, `[tunnel]` first."""
    tunnels = {
        DEFAULT_TUNNEL if path == ("tunnel",) else str(path[-1]): _with_whole_paths(tunnel, folder)
        for path, tunnel in cross.tunnels(file).items()
    }
    return Config(tunnels=tunnels, **{item.name: getattr(file, item.name) for item in fields(Shared)})


def _with_whole_paths(tunnel: TunnelSettings, folder: Path) -> TunnelSettings:
    """Return the settings with `origin_ca` as the child needs it, which runs in another folder."""
    if not tunnel.origin_ca:
        return tunnel
    try:
        whole = folder.absolute() / Path(tunnel.origin_ca).expanduser()
    except RuntimeError:  # no home folder is known for a ~: the path is reported unchanged when it cannot be read
        return tunnel
    return tunnel.changed(origin_ca=str(whole))


def _origins(file: ConfigFile, merged: Layer) -> Origins:
    """Return the origin of every key, in the order in which `config show` writes them."""
    return Origins(
        shared=(key.name for key in keys_of() if key.path[0] != "tunnel"),
        tables=(dotted(table) for table in cross.tunnels(file)),
        of_table=(key.name for key in keys_of(TunnelSettings)),
        written={dotted(path): merged.origins[path] for path in merged.written},
    )


def _findings(findings: Iterable[Finding], merged: Layer) -> Iterator[Problem]:
    """Yield each finding with its place; leave out those that follow from a value that is itself mistaken."""
    for finding in findings:
        if merged.bad.isdisjoint(path[:end] for path in finding.about for end in range(1, len(path) + 1)):
            origin = merged.origin_of(finding.about[0])
            yield Problem(origin, dotted(finding.key), finding.text)


def _exposed_secrets(layer: Layer, source: Source) -> Iterator[Problem]:
    """Yield the secrets that stand in a file that others can read."""
    if not source.others_can_read:
        return
    for path, value in layer.written.items():
        key = find_key(path)
        if key is None or not key.is_secret or not isinstance(value, str) or not value:
            continue
        if not split_reference(value)[0] and not holds_reference(value):
            remedy = f'expected mode 0600 (chmod 600 {source.path}), or "secret:NAME" after: prx secret set NAME'
            text = f"found a secret in a file that others can read (mode {source.mode:04o}), {remedy}"
            yield Problem(layer.origin_of(path), dotted(path), text)


def _resolve(merged: Layer, resolve_secret: ResolveSecret | None, left_alone: Mapping[KeyPath, str]) -> tuple[Secret, ...]:
    """Put secrets in the place of what refers to them, except those that are left alone, and return them all."""
    found: list[Secret] = []
    waiting = merged.references()
    for path, value in list(merged.values.items()):
        key = find_key(path)
        is_secret = key is not None and key.is_secret
        if resolve_secret is None:
            if path in waiting:
                merged.forget(path)
            continue
        if path in left_alone:
            continue
        try:
            if is_secret and isinstance(value, str) and value:
                merged.change(path, _remember(found, resolve_secret(value)))
            elif path in waiting:
                merged.change(path, map_strings(value, lambda _, text: _fill_in(text, resolve_secret, found)))
        except ShortageError as error:  # of the machine, not of the configuration
            raise ShortageError(f"{dotted(path)}: {error.message}", hint=error.hint) from error
        except PrxError as error:
            hint = f" ({error.hint})" if error.hint else ""
            merged.reject(path, f"{error.message}{hint}")
    return tuple(found)


def _fill_in(text: str, resolve_secret: ResolveSecret, found: list[Secret]) -> str:
    return _remember(found, resolve_secret(text)).reveal() if text.startswith(STORE_PREFIX) else text


def _remember(found: list[Secret], secret: Secret) -> Secret:
    if secret:
        found.append(secret)
    return secret
