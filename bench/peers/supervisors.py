"""How each supervisor is asked to keep a command running, once or a thousand times."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.peers.install import FOLDER, PYTHON, ROOT
from bench.peers.processes import children, family, until, words_of

PRX = (sys.executable, "-m", "prx")
SERVICES = ("runit", "s6")  # a small supervisor beside each process


@dataclass
class Job:
    """What is to be kept running: `command`, `count` times, in a folder of the bench's own. `marks`: words in its command line.

    lab: the control URL of a lab that prx joins; empty: it has nothing to ask. port: of the service.
    """

    folder: Path
    command: Sequence[str]
    count: int = 1
    marks: str = "client"
    lab: str = ""
    port: int = 9
    more: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The command as a shell would read it."""
        return shlex.join(self.command)


class Running:
    """A supervisor that runs; `log` holds what its children write."""

    def __init__(self, process: subprocess.Popen[bytes], job: Job, log: Path) -> None:
        self.process = process
        self.log = log
        self._job = job

    @property
    def kept(self) -> list[int]:
        """The processes that it keeps running."""
        return [pid for pid in family(self.process.pid) if self._is_kept(pid)]

    @property
    def own(self) -> list[int]:
        """The processes that it is itself."""
        kept = {one for pid in self.kept for one in family(pid)}
        return [pid for pid in family(self.process.pid) if pid not in kept]

    def _is_kept(self, pid: int) -> bool:
        return (
            pid != self.process.pid
            and words_of(pid).find(self._job.marks, 0, 400) >= 0
            and not words_of(pid).startswith("runsv ")
        )


Start = Callable[[Job], tuple[list[str], dict[str, str], Path]]


def _prx(job: Job) -> tuple[list[str], dict[str, str], Path]:
    data = job.folder / "data"
    table = [
        f'cloudflared_path = "{job.command[0]}"',
        *job.more,
    ]
    tunnels = ["[tunnel]", f'local_addr = "{job.port}"', "startup_timeout_secs = 600", "[tunnel.cloudflare]", *table]
    if job.count > 1:
        tunnels = [
            line
            for number in range(job.count)
            for line in (
                f"[tunnels.t{number}]",
                f'local_addr = "{job.port}"',
                "startup_timeout_secs = 600",
                f"[tunnels.t{number}.cloudflare]",
                *table,
            )
        ]
    config = job.folder / "prx.toml"
    config.touch(mode=0o600)
    config.write_text("\n".join(["[history]", "keep_days = 0", *tunnels]) + "\n")
    lab = [f"--lab={job.lab}"] if job.lab else []
    return [*PRX, "start", "-c", str(config), "--json", *lab], {"PRX_DATA_DIR": str(data)}, data / "logs"


def _supervisord(job: Job) -> tuple[list[str], dict[str, str], Path]:
    config = job.folder / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nlogfile={job.folder}/supervisord.log\npidfile={job.folder}/pid\nnodaemon=true\nminfds=8192\n"
        f"[unix_http_server]\nfile={job.folder}/sock\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[program:t]\ncommand={job.line}\nprocess_name=t%(process_num)d\nnumprocs={job.count}\nautorestart=true\n"
        f"redirect_stderr=true\nstdout_logfile={job.folder}/t%(process_num)d.log\nstartsecs=1\n"
    )
    return [str(PYTHON / "bin" / "supervisord"), "-c", str(config)], {}, job.folder / "t0.log"


def _circus(job: Job) -> tuple[list[str], dict[str, str], Path]:
    config = job.folder / "circus.ini"
    ports = [_free_port() for _ in range(3)]
    endpoints = "\n".join(
        f"{name} = tcp://127.0.0.1:{port}"
        for name, port in zip(("endpoint", "pubsub_endpoint", "stats_endpoint"), ports, strict=True)
    )
    config.write_text(
        f"[circus]\n{endpoints}\n[watcher:t]\ncmd = {job.line}\nnumprocesses = {job.count}\ncopy_env = True\nwarmup_delay = 0\n"
        f"stderr_stream.class = FileStream\nstderr_stream.filename = {job.folder}/t.log\n"
    )
    return [str(PYTHON / "bin" / "circusd"), str(config)], {}, job.folder / "t.log"


def _honcho(job: Job) -> tuple[list[str], dict[str, str], Path]:
    (job.folder / "Procfile").write_text(f"t: exec {job.line}\n")
    return (
        [str(PYTHON / "bin" / "honcho"), "-d", str(job.folder), "start", "-c", f"t={job.count}"],
        {},
        job.folder / "honcho.out",
    )


def _pm2(job: Job) -> tuple[list[str], dict[str, str], Path]:
    program, *arguments = job.command
    app = {
        "name": "t",
        "script": program,
        "args": arguments,
        "interpreter": "none",
        "instances": job.count,
        "exec_mode": "fork",
        "error_file": str(job.folder / "t.log"),
        "out_file": "/dev/null",
        "merge_logs": True,
    }
    file = job.folder / "eco.config.json"
    file.write_text(json.dumps({"apps": [app]}))
    runtime = FOLDER / "npm" / "node_modules" / ".bin" / "pm2-runtime"
    return [str(runtime), "start", str(file)], {"PM2_HOME": str(job.folder / "pm2")}, job.folder / "t.log"


def _runit(job: Job) -> tuple[list[str], dict[str, str], Path]:
    for number in range(job.count):
        _service(job.folder / "services" / f"t{number}", job, f"exec {ROOT}/usr/bin/svlogd {job.folder}/log{number}", number)
    return [f"{ROOT}/usr/bin/runsvdir", "-P", str(job.folder / "services")], {}, job.folder / "log0" / "current"


def _s6(job: Job) -> tuple[list[str], dict[str, str], Path]:
    for number in range(job.count):
        command = f"exec {ROOT}/usr/bin/s6-log n10 s50000000 {job.folder}/log{number}"
        _service(job.folder / "services" / f"t{number}", job, command, number)
    return [f"{ROOT}/usr/bin/s6-svscan", "-c", "2048", str(job.folder / "services")], {}, job.folder / "log0" / "current"


def _service(folder: Path, job: Job, log: str, number: int) -> None:
    """Write the scripts of a service for runit or s6; both read the same."""
    (job.folder / f"log{number}").mkdir(exist_ok=True)
    for name, command in (("run", f"exec 2>&1\nexec {job.line}"), ("log/run", log)):
        script = folder / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/bin/sh\n{command}\n")
        script.chmod(0o755)


SUPERVISORS: dict[str, Start] = {
    "prx": _prx,
    "supervisord": _supervisord,
    "circus": _circus,
    "honcho": _honcho,
    "pm2": _pm2,
    "runit": _runit,
    "s6": _s6,
}


if not Path("/usr/bin/s6-supervise").exists():  # its path is compiled in
    del SUPERVISORS["s6"]


@contextmanager
def running(name: str, job: Job) -> Iterator[Running]:
    """Run a supervisor for the length of a block; at its end it is asked to end, and killed with all that is left."""
    job.folder.mkdir(parents=True, exist_ok=True)
    command, more, log = SUPERVISORS[name](job)
    path = f"{ROOT}/usr/bin:{os.environ['PATH']}"
    environ = {
        "HOME": str(job.folder),
        "PATH": path,
        "LANG": "C.UTF-8",
        "LD_LIBRARY_PATH": f"{ROOT}/usr/lib/x86_64-linux-gnu:{ROOT}/lib/x86_64-linux-gnu",
        **job.environ,
        **more,
    }
    if name not in SERVICES:
        del environ["LD_LIBRARY_PATH"]
    output = subprocess.PIPE if name == "prx" else (job.folder / f"{name}.out").open("wb")
    process = subprocess.Popen(
        command, env=environ, cwd=job.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL
    )
    one = Running(process, job, log)
    try:
        yield one
    finally:
        _end(one)


def _end(one: Running) -> None:
    everyone = family(one.process.pid)
    one.process.send_signal(signal.SIGTERM)
    try:
        if one.process.stdout is not None:
            one.process.communicate(timeout=10)
        one.process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        one.process.kill()
        one.process.wait()
    for pid in everyone:
        if pid != one.process.pid and words_of(pid):
            os.kill(pid, signal.SIGKILL)


def wait_for_children(one: Running, count: int) -> float:
    """Wait until so many children run; return the seconds that it took."""
    return until(lambda: len(one.kept) >= count, every=0.01 if count > 10 else 0.002, what=f"{count} children")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def direct_children(one: Running) -> int:
    """Return how many processes a supervisor has started itself."""
    return len(children(one.process.pid))


Json = dict[str, Any]
