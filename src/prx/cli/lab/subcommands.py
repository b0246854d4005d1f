"""What one does with a lab that runs in another process: `prx lab token`, `push`, `env`, `fault` and so on."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from typing import IO, Any

import click

from prx.app.lab_client import CONTROL_VARIABLE, ask, control_option
from prx.core.errors import PrxError, UsageError, refused
from prx.core.parsing import parse_json, parse_toml
from prx.ui.errors import print_note


@click.command()
@click.option("--hostname", metavar="NAME.localhost", help="The public name of the tunnel.")
@click.option(
    "--permissions",
    metavar="NAMES",
    help="Make an API token instead, with these permissions: `DNS Write, Zone Read`, or `all`.",
)
@click.option(
    "--credentials",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the token as the `credentials-file` of a cloudflared configuration, and print its `tunnel` instead.",
)
@control_option
def token(hostname: str | None, permissions: str | None, credentials: Path | None, control: str | None) -> None:
    """Make a named tunnel in a running lab, or find it again; print its token."""
    if (hostname is None) == (permissions is None):
        raise UsageError("expected either --hostname, for a tunnel's token, or --permissions, for one of the API")
    if permissions is not None:
        names = [name.strip() for name in permissions.split(",")]
        wanted = {} if names == ["all"] else {"permissions": names}
        click.echo(ask(control, "POST", "/api/tokens", wanted)["token"])
        return
    found = ask(control, "POST", "/token", {"hostname": hostname})["token"]
    click.echo(found if credentials is None else _write_credentials(credentials, found))


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--hostname", metavar="NAME", help="Whose configuration it is; not needed if there is one tunnel only.")
@control_option
def push(file: IO[bytes], hostname: str | None, control: str | None) -> None:
    """Set a tunnel's remote configuration from FILE (JSON or TOML, `-`: stdin), as the dashboard of Cloudflare would."""
    config = _configuration(file.read(), file.name)
    name = hostname or _only_tunnel(control)
    results = ask(control, "POST", "/push", {"hostname": name, "config": config})["results"]
    for result in results:
        print_note(f"#{result['index']} of {result['connector']}: {result['error'] or 'version ' + str(result['applied'])}")
    if not results:
        print_note(f"{name} has no connection now; those to come get it")
    if any(result["error"] for result in results):
        raise PrxError("a connector did not take the configuration")


@click.command()
@click.argument("name")
@click.option("--client-id", default="", help="Id of a service token that passes.")
@click.option("--client-secret-file", type=click.File("r"), help="File with its secret; `-`: stdin.")
@click.option("--forbid", is_flag=True, help="Strangers get 403 instead of a redirect to a login.")
@click.option("--off", is_flag=True, help="Take the Access front away.")
@control_option
def protect(
    name: str, *, client_id: str, client_secret_file: IO[str] | None, forbid: bool, off: bool, control: str | None
) -> None:
    """Put an Access front before NAME; print what its app needs to know, as JSON."""
    if off:
        ask(control, "POST", "/unprotect", {"hostname": name})
        return
    secret = client_secret_file.read().strip() if client_secret_file is not None else ""
    front = {"client_id": client_id, "client_secret": secret, "deny": "forbidden" if forbid else "login"}
    click.echo(json.dumps(ask(control, "POST", "/protect", {"hostname": name, **front})))


@click.command()
@click.argument("name")
@click.argument("email")
@control_option
def login(name: str, email: str, control: str | None) -> None:
    """Log a visitor in at the protected NAME; print the value of the cookie CF_Authorization."""
    click.echo(ask(control, "POST", "/login", {"hostname": name, "email": email})["token"])


@click.command()
@control_option
def env(control: str | None) -> None:
    """Print the environment in which other tools use the lab's API, as lines for a shell: `eval "$(prx lab env)"`."""
    state = ask(control, "GET", "/state")
    try:
        facts = {
            "CLOUDFLARE_API_TOKEN": state["api_token"],
            "CLOUDFLARE_BASE_URL": state["api"],
            "CLOUDFLARE_API_BASE_URL": state["api"],
            "CLOUDFLARE_ACCOUNT_ID": state["account_id"],
            "CLOUDFLARE_ZONE_ID": state["zone_id"],
            "TUNNEL_API_URL": state["api"],
            "TUNNEL_ORIGIN_CERT": state["cert_pem"],
            "PRX_CLOUDFLARE_DASH": state["dash"],
            "PRX_OAUTH_CLIENT_ID": state["oauth_client_id"],
            CONTROL_VARIABLE: state["control"],
        }
    except KeyError:
        raise PrxError(
            "the lab that answers serves no API", hint="it may be an older one: end it, and start `prx lab`"
        ) from None
    for name, value in facts.items():
        click.echo(f"export {name}={shlex.quote(str(value))}")


@click.command()
@click.argument("words", nargs=-1, required=True)
@control_option
def fault(words: tuple[str, ...], control: str | None) -> None:
    """Do a line of a fault script now: `drop one`, `refuse for 10s`, `clear`; print the faults that act, one a line."""
    for found in ask(control, "POST", "/faults", {"script": " ".join(words)})["faults"]:
        click.echo(json.dumps(found))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@control_option
def status(as_json: bool, control: str | None) -> None:
    """Show the tunnels of a running lab, their connections, and the faults that act."""
    state = ask(control, "GET", "/state")
    if as_json:
        click.echo(json.dumps(state))
        return
    for tunnel in state["tunnels"]:
        protected = any(front["hostname"] == tunnel["hostname"] for front in state["protected"])
        kind = ("quick" if tunnel["quick"] else "named") + (", protected" if protected else "")
        click.echo(f"{tunnel['hostname'] or tunnel['name']} ({kind}): {_connections(tunnel['connections'])}")
    for found in state["faults"]:
        click.echo(f"fault: {json.dumps(found)}")
    if not state["tunnels"]:
        print_note("the lab has no tunnel yet")


ALL = (token, push, protect, login, fault, env, status)


def _write_credentials(file: Path, token: str) -> str:
    """Write a token the way `cloudflared tunnel create` does (2026.8.2) and return the tunnel's id."""
    from prx.core.tunnel_token import TunnelToken
    from prx.files.replace import write_new

    parts = TunnelToken.decode(token)
    secret = base64.b64encode(parts.secret).decode()
    content = {
        "AccountTag": parts.account_tag,
        "TunnelSecret": secret,
        "TunnelID": str(parts.tunnel_id),
        "Endpoint": parts.endpoint,
    }
    try:
        write_new(file, json.dumps(content).encode())
    except FileExistsError:
        raise PrxError(f"{file} exists", hint="it may hold the secret of a tunnel; take another name, or delete it") from None
    except OSError as error:
        raise refused(f"cannot write {file}: {error.strerror}", error, kind=PrxError) from None
    return str(parts.tunnel_id)


def _connections(connections: list[dict[str, Any]]) -> str:
    if not connections:
        return "no connection"
    return ", ".join(f"#{one['index']} at {one['location']} over {one['protocol']}" for one in connections)


def _configuration(content: bytes, name: str) -> dict[str, Any]:
    try:
        text = content.decode()
        found = parse_json(text) if text.lstrip().startswith("{") else parse_toml(text)
    except ValueError as error:
        raise UsageError(f'{name}: {error}; expected JSON or TOML, such as {{"ingress": […]}}') from None
    assert isinstance(found, dict)
    return found


def _only_tunnel(control: str | None) -> str:
    names = [str(tunnel["hostname"]) for tunnel in ask(control, "GET", "/state")["tunnels"]]
    if len(names) != 1:
        listed = ", ".join(names) or "none"
        raise UsageError(f"which tunnel? The lab has {len(names)}: {listed}", hint="name one with --hostname")
    return names[0]
