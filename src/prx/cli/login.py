"""`prx login`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from prx.app.lab_client import CONTROL_VARIABLE
from prx.ui.errors import print_note


@click.command()
@click.option("-c", "--config", "file", type=click.Path(path_type=Path, dir_okay=False), help="The configuration file.")
@click.option("--no-browser", is_flag=True, help="Only print the page's address.")
@click.option("--forget", is_flag=True, help="Forget the sign-in that is kept.")
def login(file: Path | None, no_browser: bool, forget: bool) -> None:
    """Sign in to Cloudflare by browser (OAuth), for `prx setup` and `prx tunnels`.

    It takes an OAuth client of your own account: oauth_client_id in the configuration. The tokens are kept in the secrets
    manager.
    """
    from prx.app.cloudflare.file import open_file
    from prx.app.cloudflare.login import dash_of, sign_in
    from prx.app.cloudflare.signing_in import keeping_of
    from prx.cloudflare_api.credentials import LOGIN_ENTRY

    keeping = keeping_of(os.environ)
    if forget:
        keeping.drop(LOGIN_ENTRY)
        print_note("forgot the sign-in")
        return
    client_id = open_file(file, os.environ).loaded.config.oauth_client_id

    def open_page(url: str) -> None:
        print_note(f"open this page, and agree:\n{url}")
        if not no_browser and not os.environ.get(CONTROL_VARIABLE):
            import webbrowser

            webbrowser.open(url)

    declined = sign_in(client_id, dash_of(os.environ), keeping, open_page=open_page)
    for scope in declined:
        print_note(f"note: {scope} was not granted; what needs it will be refused")
    print_note("signed in: prx setup and prx tunnels use it")
