"""Keep secrets in an encrypted file and give them out by name.

A value never stands on a command line, where every user of the machine could read it: it is asked for with a hidden prompt,
read from stdin, or from a file.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from prx.core.errors import PrxError, UsageError, refused
from prx.runtime.host.terminal import has_terminal
from prx.ui.errors import print_note
from prx.ui.prompt import ask_password, hidden
from prx.ui.say import complain

if TYPE_CHECKING:
    from prx.secrets.store import Entry, SecretStore
    from prx.secrets.value import Secret

_SPAN: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _parse_span(context: click.Context, parameter: click.Parameter, text: str | None) -> timedelta | None:
    """Read a time span such as 90d."""
    from prx.core.durations import LONGEST_SPAN

    if text is None:
        return None
    match = _SPAN.fullmatch(text)
    span = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not 0 < span.total_seconds() <= LONGEST_SPAN:
        raise click.BadParameter(
            f"found {text!r}, expected a number and a unit (s, m, h, d, w), such as 90d", context, parameter
        )
    return span


@click.group(help=__doc__)
def secret() -> None:
    """Hold the commands below."""


@secret.command("set")
@click.argument("name")
@click.option("--file", "file", metavar="FILE", help="Read the value from FILE; - is stdin.")
@click.option("--expires", callback=_parse_span, metavar="SPAN", help="Remind after this time, such as 90d, 12h, 2w.")
@click.option("--json", "as_json", is_flag=True, help="Print name and dates as JSON, never the value.")
def set_(name: str, file: str | None, expires: timedelta | None, as_json: bool) -> None:
    """Store a secret under NAME, new or known.

    On a terminal the value is asked for and not shown; otherwise it is read from stdin. A known name gets the new value, and
    the expiry that is given now or none.
    """
    from prx.config.paths import data_dir, ensure_private_dir
    from prx.secrets.store import require_name
    from prx.secrets.value import Secret

    require_name(name)  # before a value is typed
    value = Secret(_read_value(name, file))
    ensure_private_dir(data_dir())
    store = _open_store()
    is_first = not store.path.exists()
    now = datetime.now(UTC)
    entry = store.set(name, value, expires=now + expires if expires else None)
    if is_first:
        print_note(f"made {store.path}, which {_key_words(store)} opens")
    how = "stored" if entry.created == entry.updated else "replaced"
    print_note(f"{how} {name!r}: use it as secret:{name}")
    if as_json:
        _print_json(_dates(name, entry, now))


@secret.command()
@click.argument("name")
@click.option("--show", is_flag=True, help="Print it even on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the value and its dates as JSON.")
def get(name: str, show: bool, as_json: bool) -> None:
    """Print the secret NAME on stdout, for a program that reads it.

    On a terminal it takes --show, so that a person behind you does not see it by accident.
    """
    if sys.stdout.isatty() and not show:
        raise UsageError(
            "stdout is a terminal, where others may read along", hint=f"prx secret get --show {name}, or pipe it on"
        )
    entry = _open_store().get(name)
    now = datetime.now(UTC)
    if _expired(entry, now):
        complain(f"warning: {name!r} {_expiry(entry, now)}")
    if as_json:
        _print_json({**_dates(name, entry, now), "value": entry.value.reveal()})
    else:
        click.echo(entry.value.reveal())


@secret.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the names with age and expiry, never the values."""
    entries, now = _open_store().entries(), datetime.now(UTC)
    if as_json:
        _print_json({"secrets": [_dates(name, entry, now) for name, entry in entries.items()]})
        return
    if not entries:
        print_note("no secrets yet; prx secret set NAME stores one")
        return
    rows = [(name, _span(now - entry.updated), _expiry(entry, now)) for name, entry in entries.items()]
    for row in [("NAME", "AGE", "EXPIRY"), *rows]:
        click.echo(f"{row[0]:<{max(len(name) for name in [*entries, 'NAME'])}}  {row[1]:>6}  {row[2]}")


@secret.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def delete(name: str, as_json: bool) -> None:
    """Remove the secret NAME."""
    _open_store().delete(name)
    print_note(f"deleted {name!r}")
    if as_json:
        _print_json({"name": name, "deleted": True})


@secret.command()
@click.option("--to", type=click.Choice(["keyring", "password"]), help="Move to another kind of key.")
@click.option("--new-key-file", metavar="FILE", help="Read the new master password from FILE; - is stdin.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rotate(to: str | None, new_key_file: str | None, as_json: bool) -> None:
    """Encrypt everything again under a new key.

    The new key is of the same kind as the old one unless --to says otherwise. A new master password is asked for on a
    terminal or read from --new-key-file; with neither, PRX_MASTER_KEY stays the password and the key derived from it is new.
    """
    from prx.secrets.keys import KeyFinder
    from prx.secrets.value import Secret

    if to == "keyring" and new_key_file:
        raise UsageError("--new-key-file gives a master password, but --to keyring uses none")
    store = _open_store()
    store.entries()  # asks for the old password, if there is one, before a new one
    to_password = to == "password" or bool(new_key_file) or (to is None and store.key_is_password())
    from_environment = KeyFinder.from_environment(os.environ).master_key
    password: Secret | None = None
    if new_key_file:
        password = Secret(_clean(_read_file(new_key_file), "the new master password"))
    elif to_password and has_terminal():
        password = ask_password(new=True)
    elif to_password:
        password = from_environment
    store.rotate(want_keyring=not to_password, password=password)
    print_note(f"encrypted {store.path} again: {_key_words(store)} opens it")
    if to_password and from_environment and password != from_environment:
        print_note("PRX_MASTER_KEY holds the old password: set it to the new one")
    if as_json:
        _print_json({"path": str(store.path), "key": "password" if to_password else "keyring"})


def _open_store(environ: Mapping[str, str] = os.environ) -> SecretStore:
    from prx.config.paths import data_dir
    from prx.secrets.keys import KeyFinder
    from prx.secrets.store import SecretStore

    ask = ask_password if has_terminal() else None
    return SecretStore(data_dir(environ), KeyFinder.from_environment(environ, ask))


def _key_words(store: SecretStore) -> str:
    return "a master password" if store.key_is_password() else "a key in the keyring"


def _read_value(name: str, file: str | None) -> str:
    from prx.secrets.pasted_token import extract_token

    if file is not None:
        content = _read_file(file)
    elif sys.stdin.isatty():
        content = hidden(f"Value of {name}: ").encode(errors="surrogatepass")
    else:
        content = _read_file("-")
    text = _clean(content, "the value")
    token = extract_token(text, "the value")
    if token != text:
        print_note("took the token out of the pasted cloudflared command")
    return token


def _clean(content: bytes, place: str) -> str:
    from prx.secrets.files import clean_text

    return clean_text(content, place)


def _read_file(name: str) -> bytes:
    """Read at most one secret's size from a file, a pipe that was handed over, or stdin; say when others can read it."""
    from prx.files.reading import read_trusted
    from prx.files.rule import Claim
    from prx.secrets.files import MAX_SECRET_BYTES

    try:
        if name == "-" or name.startswith(("/dev/fd/", "/proc/self/fd/", "/dev/stdin")):  # the shell's <(COMMAND)
            with sys.stdin.buffer if name == "-" else Path(name).open("rb") as stream:
                content = stream.read(MAX_SECRET_BYTES + 1)
        else:
            found = read_trusted(name, Claim.NAMED, limit=MAX_SECRET_BYTES)
            content = found.data
            if found.way.file is not None and found.way.file.mode & 0o077:
                complain(f"warning: others can read {name} too")
    except OSError as error:
        raise refused(f"{name}: {(error.strerror or 'cannot be read').lower()}", error, kind=PrxError) from None
    if len(content) > MAX_SECRET_BYTES:
        raise PrxError(f"{name}: is longer than {MAX_SECRET_BYTES} bytes")
    return content


def _expired(entry: Entry, now: datetime) -> bool:
    return entry.expires is not None and entry.expires <= now


def _expiry(entry: Entry, now: datetime) -> str:
    if entry.expires is None:
        return "never"
    return f"expired {_span(now - entry.expires)} ago" if _expired(entry, now) else f"in {_span(entry.expires - now)}"


def _span(span: timedelta) -> str:
    """Render a time span by its largest unit, rounded: "3 d"."""
    seconds = max(0, round(span.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{round(seconds / length)} {unit}"
    return f"{seconds} s"


def _dates(name: str, entry: Entry, now: datetime) -> dict[str, Any]:
    return {
        "name": name,
        "created": entry.created.isoformat(),
        "updated": entry.updated.isoformat(),
        "age_secs": max(0, round((now - entry.updated).total_seconds())),
        "expires": entry.expires.isoformat() if entry.expires else None,
        "expired": _expired(entry, now),
    }


def _print_json(data: Mapping[str, Any]) -> None:
    import json

    click.echo(json.dumps(data))
