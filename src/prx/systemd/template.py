"""The unit for several prx on one machine, `prx@.service`: the service of `prx.systemd.unit`, one for each NAME.

`python -m prx.systemd.template >deploy/systemd/prx@.service` writes the file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from prx.systemd.unit import MARK, STATE, Scope, Unit, render

_NAME: Final = "INSTANCE"  # stands for %i while the words are quoted, which would double its percent sign
_HEAD: Final = """\
# Several prx on one machine: `systemctl enable --now prx@NAME` runs /etc/prx/NAME.toml with prx from /opt/prx.
# A `token = "credential:prx-token"` in it is read from /etc/credstore/prx-NAME-token (owner root, mode 0600), if that is there.
# Your own changes: systemctl edit prx@NAME
"""
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"  # systemd.exec(5)


def render_template() -> str:
    """Return the text of `prx@.service`.

    A credential that is named without a folder is looked up in /etc/credstore and may be missing (systemd.exec(5),
    LoadCredential=), so an instance without a token starts, too.
    """
    unit = Unit(
        Scope.SYSTEM,
        ("/opt/prx/bin/prx",),
        Path(f"/etc/prx/{_NAME}.toml"),
        credentials={"prx-token": Path(f"prx-{_NAME}-token")},
        environment={"PATH": _PATH},
    )
    body = "".join(line for line in render(unit).splitlines(keepends=True) if not line.startswith(MARK))
    # A folder of its own, beside that of prx.service and not inside: that one is closed.
    body = body.replace("StateDirectory=prx\n", f"StateDirectory=prx-{_NAME}\n")
    body = body.replace(f"PRX_DATA_DIR={STATE}", f"PRX_DATA_DIR={STATE}-{_NAME}")
    body = body.replace("through Cloudflare Tunnel\n", f"through Cloudflare Tunnel ({_NAME})\n")
    return _HEAD + body.replace(_NAME, "%i")


if __name__ == "__main__":
    sys.stdout.write(render_template())
