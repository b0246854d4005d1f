"""The command `prx` and the table of its commands."""

from __future__ import annotations

import click

from prx import __version__
from prx.cli.lazy import Lazy, LazyGroup, quiet_option

COMMANDS = {
    "start": Lazy("prx.cli.start:start", "Put a local service on the Internet and keep it there."),
    "status": Lazy("prx.cli.status:status", "Show the tunnels that are running."),
    "why": Lazy("prx.cli.why:why", "Explain the present verdict: what was seen, who decided, what is done next."),
    "url": Lazy("prx.cli.url:url", "Print the verified public URL."),
    "logs": Lazy("prx.cli.logs:logs", "Show what prx and its children logged."),
    "requests": Lazy("prx.cli.requests:requests", "Show what visitors asked for, and what the service answered."),
    "replay": Lazy("prx.cli.replay:replay", "Send a request to the service again."),
    "retarget": Lazy("prx.cli.retarget:retarget", "Serve the same URL from another port.", quiet=True),
    "report": Lazy("prx.cli.report:report", "Show how well the tunnels were reachable, and what was lost by which cause."),
    "web": Lazy("prx.cli.web:web", "Show every tunnel of this user in the browser."),
    "stop": Lazy("prx.cli.stop_restart_reload:stop", "Stop a tunnel, or a running prx with all its tunnels.", quiet=True),
    "restart": Lazy("prx.cli.stop_restart_reload:restart", "Restart a tunnel, or all of them.", quiet=True),
    "reload": Lazy("prx.cli.stop_restart_reload:reload", "Read the configuration again.", quiet=True),
    "forget": Lazy("prx.cli.forget:forget", "Forget on which networks QUIC did not get through.", quiet=True),
    "config": Lazy("prx.cli.config:config", "Check and show the configuration, or write one to begin with."),
    "setup": Lazy("prx.cli.setup:setup", "Make a public name for a local service, protected from the first moment."),
    "teardown": Lazy("prx.cli.setup:teardown", "Take away what `prx setup` made for HOSTNAME, and nothing else."),
    "tunnels": Lazy("prx.cli.tunnels:tunnels", "List the tunnels at Cloudflare, with their state and their connectors."),
    "login": Lazy("prx.cli.login:login", "Sign in to Cloudflare by browser (OAuth), for `prx setup` and `prx tunnels`."),
    "secret": Lazy("prx.cli.secret:secret", "Keep secrets in an encrypted file and give them out by name."),
    "doctor": Lazy("prx.cli.doctor:doctor", "Find out what is wrong with the machine, the network or the set-up."),
    "install": Lazy("prx.cli.install:install", "Install a program that prx works with on this machine."),
    "service": Lazy("prx.cli.service:service", "Have systemd start prx and keep it running."),
    "lab": Lazy("prx.cli.lab.command:lab", "Run a local edge: everything works without account and Internet."),
    "mcp": Lazy("prx.cli.mcp:mcp", "Answer an agent over the Model Context Protocol."),
    "completions": Lazy("prx.cli.completions:completions", "Print the completion script of a shell."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done · 1 failed · 2 usage or configuration · 3 permanent, or not running · 4 not ready in time.",
)
@click.version_option(__version__, "-V", "--version", message="prx %(version)s")
@quiet_option
def cli() -> None:
    """Put a local service on the Internet through Cloudflare Tunnel, prove that it answers, keep it there.

    Try it without account and Internet: prx start --hello --lab
    """
