"""Hooks: run for verified URLs, in a clean environment, the newest one last, and never in the way."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.runtime.hooks.conftest import Bench
from tests.support.servers import Servers, answer, forever
from tests.support.waits import PATIENCE

from prx.runtime.hooks.attempts import LATER
from prx.runtime.hooks.command import CommandHook
from prx.runtime.hooks.kinds import Change, HookError
from prx.runtime.hooks.web import WebHook


def script(folder: Path, text: str, name: str = "hook.sh") -> str:
    """Write a shell script, and return its relative name."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return f"./{name}"


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so in another process."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - files and foreign processes send no events
            await asyncio.sleep(0.01)


async def number_in(path: Path) -> int:
    """Wait until a file has a whole line, and return the number in it."""
    await until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def is_over(pid: int) -> bool:
    """Return whether a process has ended, be it collected or not."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_command_gets_the_url_and_little_else(bench: Bench, tmp_path: Path) -> None:
    """The change is in the environment and on stdin; no secret of prx's environment is."""
    hook = script(tmp_path, 'env >seen; cat >stdin; echo "$@" >arguments')
    bench.fire("https://new.example", "https://old.example", hooks=(f"{hook} 'one word' $HOME",))
    result = await bench.result()
    assert (result.tunnel, result.hook, result.ok, result.tries, result.detail) == ("web", "./hook.sh", True, 1, "")
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    expected = {
        "PRX_TUNNEL": "web",
        "PRX_URL": "https://new.example",
        "PRX_OLD_URL": "https://old.example",
        "HOME": "/somewhere",
        "PATH": "/usr/bin:/bin",
    }
    assert {name: value for name, value in seen.items() if name not in {"PWD", "SHLVL", "_", "OLDPWD"}} == expected
    change = json.loads((tmp_path / "stdin").read_text())
    assert change == {"tunnel": "web", "url": "https://new.example", "old": "https://old.example"}
    assert (tmp_path / "arguments").read_text() == "one word $HOME\n"


@pytest.mark.parametrize("folder", [".", "conf"])
async def test_a_script_beside_a_configuration_that_was_named_relatively(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`./hook.sh` is the script in the configuration's folder, also if prx knows that folder as `.` or `conf`."""
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir(exist_ok=True)
    hook = CommandHook(script(Path(folder), "pwd >seen"), Path(folder), {"PATH": os.environ["PATH"]}, timeout=PATIENCE)
    await hook.deliver(Change("web", "https://new.example", ""))
    assert Path(folder, "seen").read_text() == f"{Path(folder).resolve()}\n"


async def test_failure_is_repeated_and_shown(bench: Bench, tmp_path: Path) -> None:
    """A command that fails is tried again after the waits, and its last words are shown, without secrets."""
    hook = script(tmp_path, 'echo x >>tries; echo "password hunter2"; echo "it is broken" >&2; exit 7')
    bench.fire(hooks=(hook,))
    result = await bench.result()
    assert (result.ok, result.tries) == (False, 4)
    assert sorted(result.detail.split("\n")) == ["exit code 7", "it is broken", "password ***"]
    assert bench.clock.waits == [1.0, 5.0, 15.0, LATER.delay(1)]
    assert (tmp_path / "tries").read_text() == "x\n" * 4


async def test_success_on_the_second_try(bench: Bench, tmp_path: Path) -> None:
    """A hook that works the second time has worked."""
    hook = script(tmp_path, "[ -e once ] || { touch once; exit 1; }")
    bench.fire(hooks=(hook,))
    result = await bench.result()
    assert (result.ok, result.tries, result.detail) == (True, 2, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("./missing.sh", "No such file or directory"),
        ("no-such-program-anywhere --x", "'no-such-program-anywhere': not found in PATH"),
        ("./plain", "Permission denied"),
        ("echo 'unbalanced", "cannot be split into words: no closing quotation"),
        ("''", "names no program: its first word is empty"),
    ],
)
async def test_command_that_cannot_start_is_explained(bench: Bench, tmp_path: Path, text: str, words: str) -> None:
    """What cannot be started is said in words, at once: another try would find the same."""
    (tmp_path / "plain").write_text("x")
    bench.fire(hooks=(text,))
    result = await bench.result()
    assert not result.ok
    assert words in result.detail
    assert result.tries == 1


def _a_link_to_itself(place: Path) -> None:
    place.symlink_to(place)


def _for_the_world(place: Path) -> None:
    place.write_text("")
    place.chmod(0o666)


def _a_file_for_a_folder(place: Path) -> None:
    place.parent.rmdir()
    place.parent.write_text("")


@pytest.mark.parametrize("how", [Path.mkdir, os.mkfifo, _a_link_to_itself, _for_the_world, _a_file_for_a_folder])
async def test_env_file_that_can_never_be_written_is_explained_once(
    bench: Bench, tmp_path: Path, how: Callable[[Path], object]
) -> None:
    """What only the user can repair is said at once, not after three more tries."""
    (tmp_path / "sub").mkdir(mode=0o700)
    how(tmp_path / "sub" / "url.env")
    bench.fire(env_file=str(tmp_path / "sub" / "url.env"))
    result = await bench.result()
    assert (result.ok, result.tries) == (False, 1), result.detail
    assert result.detail


async def test_env_file_whose_folder_comes_later_is_tried_again(bench: Bench, tmp_path: Path) -> None:
    """A folder that is not there yet may be there in a moment."""
    bench.fire(env_file=str(tmp_path / "later" / "url.env"))
    assert (await bench.result()).tries == 4


async def test_hanging_command_is_killed_with_its_group(tmp_path: Path) -> None:
    """A command that does not end in time is killed, and so is what it started."""
    script(tmp_path, "trap '' TERM; sleep 300 & echo $! >child; wait")
    hook = CommandHook("./hook.sh", tmp_path, {"PATH": os.environ["PATH"]}, timeout=0.5)
    with pytest.raises(HookError, match=r"still running after 0\.5 s, so it was killed"):
        await hook.deliver(Change("web", "https://new.example", ""))
    child = await number_in(tmp_path / "child")
    await until(lambda: is_over(child))


async def test_flood_of_output_is_bounded(bench: Bench, tmp_path: Path) -> None:
    """Of much output only the last lines are kept, and the command is not held up."""
    hook = script(tmp_path, "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1")
    bench.fire(hooks=(hook,))
    result = await bench.result()
    lines = result.detail.split("\n")
    assert (lines[0], lines[-1], len(lines)) == ("exit code 1", "line 19999", 11)


async def test_newest_url_wins(bench: Bench, tmp_path: Path) -> None:
    """A newer URL ends the delivery of an older one; the older one is never heard after it."""
    hook = script(tmp_path, 'echo "$PRX_URL $PRX_OLD_URL" >>heard; case $PRX_URL in *slow*) sleep 300;; esac')
    bench.fire("https://first.example", hooks=(hook,))
    assert (await bench.result()).ok
    bench.fire("https://slow.example", "https://first.example", hooks=(hook,))
    await until(lambda: "slow" in (tmp_path / "heard").read_text())
    for number in range(5):
        bench.fire(f"https://n{number}.example", "https://slow.example", hooks=(hook,))
    result = await bench.result()
    assert (result.ok, result.tries) == (True, 1)
    heard = (tmp_path / "heard").read_text().splitlines()
    assert heard[0] == "https://first.example "
    assert heard[1] == "https://slow.example https://first.example"
    assert heard[-1] == "https://n4.example https://first.example"
    assert bench.results.empty()


async def test_hanging_hook_holds_up_nobody(bench: Bench, tmp_path: Path) -> None:
    """While one hook hangs, the others of the same tunnel are run."""
    hanging = script(tmp_path, "sleep 300", "hanging.sh")
    quick = script(tmp_path, "exit 0", "quick.sh")
    bench.fire(hooks=(hanging, quick))
    assert (await bench.result()).hook == "./quick.sh"


async def test_url_is_posted_as_json(bench: Bench, servers: Servers) -> None:
    """A URL gets the change as JSON; its path, which may hold a secret, is in no event."""
    bodies: asyncio.Queue[bytes] = asyncio.Queue()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int(served.heads[-1].lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        bodies.put_nowait(await reader.readexactly(length))
        writer.write(answer(204))

    served = await servers.start(handle)
    url = f"http://user:p%40ss@127.0.0.1:{served.port}/bot-hunter2/hook?x=1"
    bench.fire("https://new.example", "https://old.example", hooks=(url,))
    result = await bench.result()
    assert (result.ok, result.hook, result.detail) == (True, f"http://127.0.0.1:{served.port}", "")
    assert json.loads(bodies.get_nowait()) == {"tunnel": "web", "url": "https://new.example", "old": "https://old.example"}
    assert served.heads[0].startswith(b"POST /bot-hunter2/hook?x=1 HTTP/1.1")
    assert b"Content-Type: application/json" in served.heads[0]
    assert b"Authorization: Basic dXNlcjpwQHNz" in served.heads[0]  # user:p@ss


@pytest.mark.parametrize(("raw", "words"), [(answer(500), "it answers 500"), (answer(302, Location="/"), "it answers 302")])
async def test_refused_post_is_repeated(bench: Bench, servers: Servers, raw: bytes, words: str) -> None:
    """Anything but 2xx is a failure, redirects too, and is tried again."""
    served = await servers.canned(raw)
    bench.fire(hooks=(served.url,))
    result = await bench.result()
    assert (result.ok, result.tries, result.detail) == (False, 4, words)
    assert served.connections == 4


async def test_silent_server_is_left(servers: Servers) -> None:
    """A server that does not answer in time is left."""

    async def silent(*_: object) -> None:
        await forever()

    served = await servers.start(silent)
    with pytest.raises(HookError, match=r"does not answer within|no answer within"):
        await WebHook(served.url, timeout=0.2).deliver(Change("web", "https://new.example", ""))


async def test_dotenv_file_is_written_before_commands_run(bench: Bench, tmp_path: Path) -> None:
    """The dotenv file has the new URL when a command reads it."""
    hook = script(tmp_path, "cat .env >seen")
    bench.fire("https://new.example", hooks=(hook,), env_file=".env")
    results = [await bench.result(), await bench.result()]
    assert [result.ok for result in results] == [True, True]
    assert (tmp_path / "seen").read_text() == "PRX_URL=https://new.example\n"


async def test_end_of_prx_ends_hooks(bench: Bench, tmp_path: Path) -> None:
    """A hook that runs when the runner is cancelled is killed with it."""
    bench.fire(hooks=(script(tmp_path, "echo $$ >pid; sleep 300"),))
    pid = await number_in(tmp_path / "pid")
    for task in asyncio.all_tasks():
        if task.get_name() == "hooks":
            task.cancel()
    await until(lambda: is_over(pid))
