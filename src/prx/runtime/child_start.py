"""The start of one connector's child: what it is given, in order, and what a start that fails means."""

from __future__ import annotations

import errno
from collections.abc import Callable

from prx.backends.base import LaunchContext
from prx.core import effects, inputs
from prx.core.errors import CredentialError, PermanentError, PrxError
from prx.core.verdicts import Diagnosis, Verdict
from prx.install.programs import needed_environment
from prx.runtime.bulkhead import words_of
from prx.runtime.client_program import ClientProgram, find_program
from prx.runtime.context import TunnelContext
from prx.runtime.origin_trust import OriginTrust, require_origin_ca
from prx.runtime.process.ports import draw_port
from prx.runtime.process.spawn import SpawnError
from prx.runtime.process.version import short_version
from prx.runtime.role import Role
from prx.runtime.run import Run

EMPTY_CONFIG = "config.yml"


async def start_child(
    effect: effects.Spawn,
    context: TunnelContext,
    program: ClientProgram,
    trust: OriginTrust,
    *,
    send: Callable[[inputs.Input], None],
    role: Role,
) -> tuple[Run, str]:
    """Start the child of one run; return it with the short version of its program. Raises what `explain` explains.

    `program` and `trust` take note of what it is started with.
    """
    shared = context.shared
    program.about_to_start(context)
    trust.started(context.settings)
    context.backend.check()
    require_origin_ca(context.settings)
    argv = find_program(context)
    version = await program.ask_version(context, argv)
    if change := await program.change(short_version(version)):
        context.log("info", change)
    port = _choose_port(context)
    launch_context = LaunchContext(
        program=argv,
        version=version,
        metrics_port=port,
        config_file=shared.private / EMPTY_CONFIG,
        home=shared.private,
        protocol=effect.protocol,
        site=shared.site,
        inherited=shared.inherited,
        needs=needed_environment(argv, shared.inherited),
    )
    run = Run(effect.run, context, send, effect.protocol, port, role=role)
    await run.start(launch_context)
    program.started()
    return run, short_version(version)


def _choose_port(context: TunnelContext) -> int:
    """Return the port that the child is to answer on: the fixed one, unless another connector has it that has yet to end."""
    fixed, ports = context.client.metrics_port, context.shared.ports
    if fixed and not ports.is_held(fixed):
        return fixed
    while (port := draw_port()) == fixed:  # the other connector may not listen on it yet
        pass
    if fixed:
        context.log(
            "info", f"metrics_port {fixed} is held by a connector that has yet to end: the new one has {port} until then"
        )
    return port


def explain(error: Exception, context: TunnelContext) -> Diagnosis:
    """Return what a failed start means: who is at fault, and whether another try can help."""
    if not isinstance(error, PrxError):  # this machine is short of something: not forever
        return Diagnosis(Verdict.CRASHED, f"the connector cannot be started: {words_of(error)}")
    if isinstance(error, CredentialError):
        verdict = Verdict.AUTH_REJECTED
    elif isinstance(error, PermanentError) or (isinstance(error, SpawnError) and error.permanent):
        verdict = Verdict.MISCONFIGURED
    else:
        verdict = Verdict.CRASHED
    hint = error.hint
    if isinstance(error, SpawnError) and error.errno == errno.ENOENT:
        hint = context.client.install_hint or error.hint
    return Diagnosis(verdict, error.message, hint)
