"""`prx forget`."""

from __future__ import annotations

import os

import click

from prx.ui.errors import print_note


@click.command()
def forget() -> None:
    """Forget on which networks QUIC did not get through.

    HTTP/2 is spoken there instead, for a day after it came up when QUIC did not. A tunnel that runs keeps what it speaks until
    it is restarted. How long the quick-tunnel service asked to be left alone is not forgotten: asking sooner prolongs that.
    """
    from prx.config.paths import data_dir
    from prx.core.errors import PrxError
    from prx.core.shortage import lack_in
    from prx.runtime.host.clock import SystemClock
    from prx.runtime.persistent_state import STATE_FILE, PersistentState

    path = data_dir(os.environ) / STATE_FILE
    state = PersistentState(path, SystemClock())
    count = state.forget_protocol()
    if state.trouble:  # what is remembered is not known, or is still there
        lack = lack_in(state.trouble)
        raise PrxError(f"nothing was forgotten: {path}: {state.trouble.lower()}", hint=lack.hint if lack else "")
    networks = "1 network" if count == 1 else f"{count} networks"
    print_note(f"forgot what was learnt about {networks}" if count else "nothing was remembered")
