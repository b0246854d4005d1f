"""A dashboard that cannot run: tried again only if that can help, reported once, and shown in the status."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.app.test_dashboard import running

from prx.config.paths import ensure_private_dir
from prx.config.schema import WebSettings
from prx.core.errors import PermanentError, PrxError
from prx.ui.status_lines import dashboard_lines
from prx.web.address import Listen
from prx.web.server import listen_on

Spoil = Callable[[Path, pytest.MonkeyPatch], None]
HINT = "hint: another dashboard may run: one shows all prx of this user"
CANNOT = "the dashboard cannot run: "


def _no_extra(home: Path, patch: pytest.MonkeyPatch) -> None:
    (home / "starlette").mkdir()
    missing = "raise ModuleNotFoundError(\"No module named 'starlette'\", name='starlette')"
    (home / "starlette" / "__init__.py").write_text(missing)
    patch.setenv("PYTHONPATH", os.pathsep.join([str(home), *sys.path]))


def _half_an_extra(home: Path, patch: pytest.MonkeyPatch) -> None:
    _no_extra(home, patch)
    (home / "starlette" / "__init__.py").write_text("raise ImportError('cannot import name anyio', name='starlette')")


def _damaged_key(home: Path, _: pytest.MonkeyPatch) -> None:
    (ensure_private_dir(home / "data") / "web.key").write_text("not hex")
    (home / "data" / "web.key").chmod(0o600)


def _folder_for_a_key(home: Path, _: pytest.MonkeyPatch) -> None:
    (ensure_private_dir(home / "data") / "web.key").mkdir()


def _no_interpreter(home: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys, "executable", str(home / "gone" / "python"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_extra, "needs starlette, which is not installed (hint: pip install 'prx-tunnel[web]', then run `prx reload`)"),
        (_half_an_extra, "cannot be loaded: cannot import name anyio"),
        (_damaged_key, "is damaged: expected 64 hex digits (hint: delete it"),
        (_folder_for_a_key, "web.key: found a directory, expected a file (hint: `prx reload` tries again)"),
        (_no_interpreter, "No such file or directory (hint: "),
    ],
)
async def test_what_cannot_pass_is_tried_and_reported_once(
    tmp_path: Path,
    unused_port: int,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    words: str,
) -> None:
    """No timer is set, the report says what helps, and a reload tries it again, once."""
    spoil(tmp_path, monkeypatch)
    async with running(tmp_path, WebSettings(listen=f"127.0.0.1:{unused_port}")) as scene:
        assert words in await scene.until(CANNOT)
        about = scene.child.about()
        assert about is not None
        assert about["state"] == "failed"
        assert about["reason"]
        scene.child.check_settings()
        await scene.until(CANNOT, 2)
        assert scene.clock.waits == []
        assert {level for level, _ in scene.said} == {"error"}


async def test_it_runs_when_the_cause_is_gone(tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reload after the remedy starts the dashboard, and the status has nothing more to say."""
    _damaged_key(tmp_path, monkeypatch)
    async with running(tmp_path, WebSettings(listen=f"127.0.0.1:{unused_port}")) as scene:
        await scene.until(CANNOT)
        (tmp_path / "data" / "web.key").unlink()
        scene.child.check_settings()
        await scene.until("dashboard: http")
        assert scene.child.about() == {"listen": f"127.0.0.1:{unused_port}", "state": "up", "reason": "", "hint": ""}
        scene.settings = WebSettings()
        assert scene.child.about() is None


async def test_what_may_pass_is_tried_again_and_reported_once(tmp_path: Path, unused_port: int) -> None:
    """A port in use is waited for without a line at each try, and the dashboard comes when the port is free."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", unused_port)
    async with running(tmp_path, WebSettings(listen=f"127.0.0.1:{unused_port}")) as scene:
        await scene.until("started again", 2)
        used = f"the dashboard cannot listen on 127.0.0.1:{unused_port}: Address already in use ({HINT})"
        assert [text for level, text in scene.said if level == "warn"] == [
            f"the dashboard has ended and is started again in 5 s: {used}"
        ]
        server.close()
        await scene.until("dashboard: http")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, PermanentError),
        (errno.EPERM, PermanentError),
        (errno.EAFNOSUPPORT, PermanentError),
        (errno.EADDRINUSE, PrxError),
        (errno.EADDRNOTAVAIL, PrxError),
    ],
)
def test_which_refusals_of_a_port_are_for_good(number: int, kind: type[PrxError], monkeypatch: pytest.MonkeyPatch) -> None:
    """What user and machine decide is permanent; what another program or a network decides is not."""

    def bind(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(PrxError, match=os.strerror(number)) as caught:
        listen_on(Listen("127.0.0.1", 80))
    assert type(caught.value) is kind


def test_what_status_prints() -> None:
    """One line for the dashboard that does not run, its reason and the remedy, once for all tunnels of its prx."""
    failed = {"listen": "127.0.0.1:80", "state": "failed", "reason": "Permission denied", "hint": "choose another port"}
    up = {"listen": "127.0.0.1:4141", "state": "up", "reason": "", "hint": ""}
    tunnels = [{"prx": {"pid": pid, "dashboard": shown}} for pid, shown in ((1, failed), (1, failed), (2, up), (3, None))]
    assert dashboard_lines([*tunnels, {"prx": {"pid": 4}}], width=80) == [
        "dashboard  failed  127.0.0.1:80",
        "  Permission denied",
        "  hint: choose another port",
    ]
