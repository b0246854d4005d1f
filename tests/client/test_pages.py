"""Every block of Python of the README and of the pages on the API runs in a fresh process and does what the page says."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.client.program import Home, Program
from tests.support.visitor import request
from tests.support.waits import free_port

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGE = BLOCK.findall((HOW_TO / "use-from-python.md").read_text())
BLOCKS = {re.match(r"# (\S+)\n", block)[1]: block for block in PAGE}  # type: ignore[index]
OTHERS = [ROOT / "README.md", HOW_TO / "come-from-pyngrok.md", HOW_TO / "come-from-pycloudflared.md"]
OPENS = re.compile(r"prx\.(tunnel|open_tunnel|asgi\.lifespan)\(8080(?=[,)])")


class Setting:
    """The files of the page in a folder, with the lab as the edge and a port that is free."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.port = free_port()
        home.env["PORT"] = str(self.port)  # Flask's own server takes it from its argument, gunicorn's from its file
        for name, block in BLOCKS.items():
            (home.path / name).write_text(self.fit(block))

    def fit(self, block: str) -> str:
        """Return a block for this lab and port; nothing else is changed."""
        fitted = OPENS.sub(lambda call: f"prx.{call[1]}(8080, lab={self.home.lab!r}", block)
        assert fitted != block or "prx.tunnel" not in block
        return fitted.replace("8080", str(self.port))

    def verified(self) -> str:
        """Return the URL once it is verified."""
        with self.home.command("prx", "url", "--wait", "60") as asked:
            return asked.line("http://").join(["http://", ""])


@pytest.fixture
def setting(home: Home) -> Setting:
    """Yield the files, ready to run."""
    return Setting(home)


def interrupt(program: Program) -> None:
    """End a program as Ctrl-C does."""
    program.process.send_signal(signal.SIGINT)
    program.end()


def run(setting: Setting, name: str) -> Program:
    """Return the running program `name`, to be used in a `with`."""
    return Program([sys.executable, name], env=setting.home.env, cwd=setting.home.path)


@contextmanager
def running(setting: Setting, name: str) -> Iterator[Program]:
    """Run a file of the page until the block ends."""
    program = run(setting, name)
    try:
        yield program
    finally:
        program.close()


def test_every_block_is_run() -> None:
    """No block stands on the page that no test below runs."""
    here = Path(__file__).read_text()
    assert all(f'"{name}"' in here or f'"{name.removesuffix(".py")}:app"' in here for name in BLOCKS)


def test_the_script(setting: Setting) -> None:
    """`http.server` is public, by the URL that the script prints."""
    with running(setting, "script.py") as program:
        url = "http" + program.line("http")
        assert "http" + program.line("http") == url
        assert "script.py" in request("GET", url).text
        program.line("Enter")
        program.go_on()
        program.succeed()


def test_the_loop(setting: Setting) -> None:
    """The events come on the loop, and the loop serves meanwhile."""
    with running(setting, "loop.py") as program:
        url = "http" + program.line("http")
        program.line("url_changed")
        assert request("GET", url).text == "hello\n"
        interrupt(program)


def test_fastapi(setting: Setting) -> None:
    """FastAPI under uvicorn has its tunnel in `app.state`."""
    with setting.home.command("uvicorn", "app_fastapi:app", "--port", str(setting.port)) as program:
        program.line("INFO:     Uvicorn running")
        url = setting.verified()
        assert request("GET", url).json() == {"public": url}
        interrupt(program)


def test_flask(setting: Setting) -> None:
    """Flask's own server, with its reloader, has one tunnel."""
    with running(setting, "app_flask.py") as program:
        assert "http" + program.line("http") == "http" + program.line("http")  # the file runs twice
        assert request("GET", setting.verified()).text.startswith("hello ")
        interrupt(program)


def test_gunicorn(setting: Setting) -> None:
    """The master of gunicorn opens the tunnel of its workers, from "gunicorn.conf.py"."""
    with setting.home.command("gunicorn", "app_flask:app") as program:
        url = "http" + program.line("http")
        assert setting.verified() == url
        assert request("GET", url).text.startswith("hello ")
        program.process.send_signal(signal.SIGTERM)
        program.end()


def test_waiting(setting: Setting) -> None:
    """The program returns with the webhook that it waits for, and lists it."""
    with running(setting, "waits.py") as program:
        hook = program.line("send a webhook to ")
        setting.verified()
        assert request("POST", hook, body=b"hi").status_code == 204
        program.line("POST /hook 204 b'hi'")
        program.line("[('POST', '/hook')]")
        program.succeed()


def test_django(setting: Setting) -> None:
    """Django's development server answers under its public name."""
    with running(setting, "app_django.py") as program:
        program.line("http")
        url = setting.verified()
        assert request("GET", url).text == f"hello from {url.removeprefix('http://')}"
        interrupt(program)


def test_the_notebook(setting: Setting) -> None:
    """A cell of a notebook, whose kernel has a running loop, opens a tunnel; another one closes it, and both kinds work."""
    source = """
    import nbformat, os, sys
    from nbclient import NotebookClient

    cells = [open("notebook.py").read(), f'''
    async with prx.open_tunnel(t.status().local_addr, lab={os.environ["LAB"]!r}) as u:
        print(u.url == t.url, (await u.status()).state)
    t.close()''']
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    print(*["".join(output["text"] for output in cell["outputs"]) for cell in notebook.cells])
    """
    setting.home.env["PYTHONWARNINGS"] = "default"
    with setting.home.python(source) as program:
        program.line("http")
        program.line(" True ready")
        program.succeed()


class Telegram(BaseHTTPRequestHandler):
    """Remember what is registered."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/bot1:secret/setWebhook"
        self.server.registered.append(body["url"])  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is that of the base class
        pass


def test_the_receiver(setting: Setting) -> None:
    """It registers its URL, receives an update there, and registers again when a restart has changed the URL."""
    with HTTPServer(("127.0.0.1", 0), Telegram) as api:
        api.registered = []  # type: ignore[attr-defined]
        threading.Thread(target=api.serve_forever, args=(0.05,), daemon=True).start()
        setting.home.env |= {"TELEGRAM_API": f"http://127.0.0.1:{api.server_port}", "TELEGRAM_TOKEN": "1:secret"}
        with running(setting, "receiver.py") as program:
            first = program.line("registered ")
            update = json.dumps({"message": {"text": "hi"}}).encode()
            assert request("POST", f"{first}/hook", body=update).status_code == 200
            program.line("got hi")
            with setting.home.command("prx", "restart") as restart:
                restart.succeed()
            second = program.line("registered ")
            assert request("POST", f"{second}/hook", body=update).status_code == 200
            program.line("got hi")
            assert api.registered == [f"{first}/hook", f"{second}/hook"]  # type: ignore[attr-defined]
            interrupt(program)
        api.shutdown()


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.name)
def test_short_blocks(setting: Setting, page: Path) -> None:
    """The block of the README and those that replace another library's print a URL and end."""
    blocks = BLOCK.findall(page.read_text())
    assert blocks
    for block in blocks:
        with setting.home.python(setting.fit(block)) as program:
            program.line("http")
            program.succeed()
