"""The reference page of the configuration, made from the schema.

    python -m prx.config.reference > docs/reference/configuration.md

A test compares the page with this and fails when it is stale.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from itertools import groupby

from prx.config.keys import Key, keys_of, table_at
from prx.config.render import default_text

_INTRODUCTION = """\
# Configuration

<!-- Made by `python -m prx.config.reference`; change src/prx/config/schema.py instead. -->

prx needs no configuration to begin with. A file is written in [TOML](https://toml.io/en/v1.0.0); `prx config init`
writes one in which every key is explained, `prx config check` names all mistakes at once, and `prx config show
--origin` says what is in force and where each value came from.

The file is the one named by `-c FILE`, else by `PRX_CONFIG`, else `prx.toml` in the current folder, else
`$XDG_CONFIG_HOME/prx/config.toml` (usually `~/.config/prx/config.toml`). Defaults give way to the file, the file to
the environment, the environment to the command line. An empty variable counts as not set. For a user without a home
the last place is `$PRX_DATA_DIR/config.toml`.

A file that others could have put there is refused ([the rule](../explanation/security.md#whose-files-prx-uses)). While
prx runs it stays with its file, and a reload refuses one that has lost its tunnels or their guards
([which](../explanation/security.md#what-a-reload-does-not-do)).

## Values

* An unknown key, a wrong type and a value out of range are mistakes; nothing is guessed or ignored.
* `${VAR}` in any text is replaced by that environment variable; it must be set. `$${` stands for `${` itself. A number
  can stand in a variable too: `max_failures = "${N}"`.
* `secret:NAME` in place of any text is replaced by that entry of prx's secrets file (`prx secret set NAME`). The keys
  that hold a secret also take `file:PATH` (a relative path starts at the folder of the configuration), `env:NAME`,
  `cmd:PROGRAM ARG …` (what the program prints; no shell runs) and `credential:NAME` (systemd). A secret that is written
  out is refused while others can read the file: `chmod 600 FILE`.
* Durations are seconds and may have a fraction.

## More than one tunnel

A tunnel that no file declares (`prx start 8080`) is called by its port, `8080`, or as `--name` says.
`[tunnel]` declares the tunnel named `default`. `[tunnels.NAME]` declares others, with the same keys and a
`[tunnels.NAME.cloudflare]` of their own; NAME is made of lower-case letters, digits and dashes. Variables and
command-line arguments that set a key of `[tunnel]` mean that table or, if the file has none, the only
`[tunnels.NAME]`.
"""

_OTHER_VARIABLES = {
    "PRX_CONFIG": "The configuration file.",
    "PRX_DATA_DIR": "Where prx keeps its own files, instead of `$XDG_DATA_HOME/prx`; sockets and locks in `run` there.",
    "PRX_LAB_CONTROL": "The control URL of the lab that `prx lab COMMAND` asks (else: the last one) and `start --lab` joins.",
    "PRX_LAB_LIMITS": "What a lab refuses its visitors: `free`, as Cloudflare's free plan does (the default), or `none`.",
    "CLOUDFLARE_API_TOKEN": "The API token of `prx setup`, `teardown` and `tunnels`, or a reference to one. "
    "With it `prx status` and `prx doctor` also say what Cloudflare knows of a named tunnel.",
    "PRX_CLOUDFLARE_API": "Another address of Cloudflare's API: https, or this machine; for tests.",
    "PRX_CLOUDFLARE_DASH": "Another address that `prx login` signs in at: https, or this machine; for tests.",
    "DEBUG_INVOCATION": "With `1`, which systemd sets for `RestartMode=debug`, and without `PRX_LOG`: `log_level` is `debug`.",
    "PRX_MASTER_KEY": "The master password of the secrets file, if there is no terminal to ask for it.",
}


def page() -> str:
    """Return the page as Markdown."""
    parts = [_INTRODUCTION]
    for table, keys in groupby(keys_of(), key=lambda key: key.path[:-1]):
        parts.append("\n".join(_section(table, list(keys))))
    parts.append("\n".join(_variables()))
    return "\n".join(parts)


def _section(table: tuple[str, ...], keys: list[Key]) -> Iterator[str]:
    yield f"## `[{'.'.join(table)}]`" if table else "## At the top"
    yield ""
    if table:
        yield f"{inspect.getdoc(table_at(table))}\n"
    yield "| key | default | expected | meaning |"
    yield "|---|---|---|---|"
    for key in keys:
        yield f"| `{key.path[-1]}` | `{default_text(key)}` | {_expected(key)} | {_cell(key.description)} |"
    yield ""


def _expected(key: Key) -> str:
    if key.choices:
        return " or ".join(f'`"{choice}"`' for choice in key.choices)
    return "a secret" if key.is_secret else key.expected


def _variables() -> Iterator[str]:
    yield "## Environment variables"
    yield ""
    yield "| variable | meaning |"
    yield "|---|---|"
    for key in keys_of():
        if key.env:
            yield f"| `{key.env}` | Overrides `{key.name}`. |"
    for name, meaning in _OTHER_VARIABLES.items():
        yield f"| `{name}` | {meaning} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
