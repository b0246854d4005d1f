"""The one place where an exception becomes words on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import click

from prx.core.errors import PermanentError, PrxError, short_of
from prx.core.shortage import NO_ROOM, reserve
from prx.ui.say import complain, say

INTERRUPTED = 130  # 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE, as the shell shows the end of a program whose reader has gone; 1 would mean that it failed
CRASHED = 1

_FULL = NO_ROOM | {errno.EIO}  # what a write to stdout may end with (write(2))
_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EROFS}

_NO_NUMBER = re.compile(r"^('.*'|.*?) is not (?:a valid (?:integer|float)|in the range)")

_NO_CHOICE = re.compile(r"^('.*') is not one of ")

_secrets: set[str] = set()  # of this process, in every form


def run(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run `command` and return the exit code; what the user can fix is reported without a traceback.

    The code does not depend on stderr: it may be closed, or lead to a full disk.
    """
    try:
        return _run(command, arguments)
    finally:
        _finish_stderr()


def _run(command: click.Command, arguments: Sequence[str] | None) -> int:
    streams = sys.stdout, sys.stderr
    try:
        code = command.main(args=None if arguments is None else list(arguments), prog_name="prx", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except PrxError as error:
        print_error(error)
        return error.exit_code
    except click.ClickException as error:
        _print_usage(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED
    except SystemExit:
        if sys.stdout is streams[0]:
            raise
        sys.stdout, sys.stderr = streams  # click has noticed it first: then it puts others in their place, and ends with 1
        _forget_stdout()
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - of a defect the interpreter would write the same, with every secret that is in it
        reserve.clear()
        if short := short_of(error):
            print_error(short)
            return short.exit_code
        if not isinstance(error, OSError) or not (error.errno in _FULL | _NOT_OURS or (error.errno and error.filename)):
            return _crashed()
        _forget_stdout()
        described = describe_os_error(error)
        print_error(described)
        return described.exit_code


def describe_os_error(error: OSError, place: str | os.PathLike[str] | None = None) -> PrxError:
    """Say in words what a file, or else `place` (None: what stdout leads to), cannot be used for."""
    if short := short_of(error):
        return short
    where = error.filename or place
    words = (error.strerror or str(error)).lower()
    if where is None:
        return PrxError(f"cannot write: {words}", hint="the disk, or what stdout leads to, is full")
    kind = PermanentError if error.errno in _NOT_OURS else PrxError
    helps = "set PRX_DATA_DIR to a directory of your own" if error.errno in _FULL | _NOT_OURS else ""
    helps = f"make room, or {helps}" if error.errno in _FULL else helps
    return kind(f"{os.fsdecode(where)}: {words}", hint=helps)


def explain(error: Exception) -> PrxError:
    """Return `error` as what a caller reads; a defect's traceback goes to stderr, without secrets."""
    if isinstance(error, PrxError):
        return error
    if short := short_of(error):
        return short
    if isinstance(error, OSError):
        return describe_os_error(error)
    _crashed()
    return PrxError(f"a defect of prx: {without_secrets(f'{type(error).__name__}: {error}')}", hint="stderr has the traceback")


def _crashed() -> int:
    import traceback

    complain(without_secrets(traceback.format_exc().rstrip()))
    return CRASHED


def hide(secrets: Iterable[str]) -> None:
    """Keep these out of whatever is written from now on when something goes wrong."""
    _secrets.update(secrets)


def without_secrets(text: str) -> str:
    """Return the lines of `text` without secrets: those that are known, those in the environment, and what looks like one."""
    from prx.logs.redact import Redactor
    from prx.secrets.sources import own_secrets

    return Redactor([*_secrets, *own_secrets(os.environ)]).text(text)


def print_error(error: PrxError) -> None:
    """Write `error: …` and `hint: …` to stderr; between them what belongs to it, each on its own line.

    That is every problem of a configuration, or the last lines of a service.
    """
    lines = [f"error: {error.message}"]
    lines += [f"  {problem}" for problem in getattr(error, "problems", ())]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    complain(without_secrets("\n".join(lines)))


def print_note(text: str) -> None:
    """Write talk to stderr, unless `-q` was given."""
    say(text)


def _print_usage(error: click.ClickException) -> None:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        complain(f"{context.get_help()}\n\nerror: a command is missing" if context else error.format_message())
        return
    message, also = _words_of(error)
    complain(without_secrets(f"error: {_begun_small(message).rstrip('.')}"))
    if also:
        complain(f"hint: {also}")
    elif context is not None:
        complain(f"hint: {context.command_path} --help")


def _words_of(error: click.ClickException) -> tuple[str, str]:
    """Return the message, and the hint if there is one of its own."""
    text = error.format_message()
    if isinstance(error, click.MissingParameter):
        return " ".join(text.split()), ""
    if isinstance(error, click.NoSuchOption):
        return error.message, _instead_of(error)
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_called(error.param)}: {_bad_value(error.message, error.param.type)}", ""
    message, _, also = text.partition("\n")
    return message, also


def _instead_of(error: click.NoSuchOption) -> str:
    """Return what may be meant by an option that does not exist: never one that is hidden."""
    import difflib

    from prx.ui.meant import meant_by_option

    if meant := meant_by_option(error.option_name):
        return meant
    params = error.ctx.command.get_params(error.ctx) if error.ctx else []
    known = [name for param in params if not getattr(param, "hidden", False) for name in param.opts if name.startswith("--")]
    near = difflib.get_close_matches(error.option_name, known, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else ""


def _called(parameter: click.Parameter) -> str:
    """Return the name of an option or of an argument as the help has it."""
    if isinstance(parameter, click.Argument):
        return str(parameter.metavar or parameter.name).upper()
    return "/".join(parameter.opts)


def _bad_value(message: str, kind: click.ParamType[Any]) -> str:
    """Return what was found and what is expected, in the words of prx in place of click's."""
    if number := _NO_NUMBER.search(message):
        return f"found {number[1]}, expected {_number(kind)}"
    if isinstance(kind, click.Choice) and (other := _NO_CHOICE.match(message)):
        return f"found {other[1]}, expected one of {', '.join(str(choice) for choice in kind.choices)}"
    return _begun_small(message)


def _begun_small(message: str) -> str:
    """Return a sentence of click's without its capital letter; a name in capitals, such as an argument's, keeps it."""
    return message if message[1:2].isupper() else f"{message[:1].lower()}{message[1:]}"


def _number(kind: click.ParamType[Any]) -> str:
    """Return what is expected of a number."""
    what = "a whole number" if isinstance(kind, click.types.IntParamType) else "a number"
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    return what + (f" from {low:.15g}" if low is not None else "") + (f" to {high:.15g}" if high is not None else "")


def _forget_stdout() -> None:
    """Point stdout at nothing, so that the interpreter does not complain when it flushes at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _finish_stderr() -> None:
    """Write out what stderr holds; if it does not take that, have the interpreter not find out (it would end with 120)."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
