"""The one place where an exception becomes words on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from prx.core.errors import ConfigError, PrxError

INTERRUPTED = 130  # 128 + SIGINT
PIPE_CLOSED = 1  # as click itself does where it is the first to notice


def run(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run `command` and return the exit code; whatever the user can do something about is told, without a traceback."""
    try:
        code = command.main(args=None if arguments is None else list(arguments), prog_name="prx", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except PrxError as error:
        tell(error)
        return error.exit_code
    except click.ClickException as error:
        _tell_usage(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED


def tell(error: PrxError) -> None:
    """Write `error: …` and `hint: …` to stderr; all problems of a configuration, each on its own line."""
    say(f"error: {error.message}")
    if isinstance(error, ConfigError):
        for problem in error.problems:
            say(f"  {problem}")
    if error.hint:
        say(f"hint: {error.hint}")


def say(text: str) -> None:
    """Write one line of talk to stderr."""
    click.echo(text, err=True)


def _tell_usage(error: click.ClickException) -> None:
    message, _, also = error.format_message().partition("\n")
    context = getattr(error, "ctx", None)
    say(f"error: {message[:1].lower()}{message[1:].rstrip('.')}")
    if also:
        say(f"hint: {also}")
    elif context is not None:
        say(f"hint: {context.command_path} --help")


def _forget_stdout() -> None:
    """Point stdout at nothing, so that the interpreter does not complain when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
