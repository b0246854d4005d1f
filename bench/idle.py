"""What a quiet, healthy tunnel costs: memory and CPU of `prx start`, where its memory comes from, and how long commands take.

    python -m bench.idle [--seconds 20] [--connector builtin|PATH] [--imports N]

`prx start` watches one verified quick tunnel at full pace. The edge is `prx lab` in a process of its own and the service is one
of the bench's, so that neither counts. Then the same start runs again with each import measured, and the cheap commands are
timed beside a Python that does nothing. Figures of one run on one machine; compare the ratios, not the numbers.

With Cloudflare's own edge prx needs 2.4 MiB more: the certificates that the system trusts, and psutil for the fingerprint
of the network.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.imports import resident

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024
PRX = (sys.executable, "-m", "prx")
COMMANDS = (("--help",), ("url",), ("status",))
ROUNDS = 9


def spent(pid: int) -> float:
    """Return the CPU seconds that a process has used (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def parts_of(pid: int) -> dict[str, int]:
    """Return the resident bytes of a process by what they belong to (proc(5): smaps)."""
    found: dict[str, int] = defaultdict(int)
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            name = _owner(words[5] if len(words) > 5 else "")
        elif words[0] == "Rss:":
            found[name] += int(words[1]) * 1024
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _owner(mapped: str) -> str:
    if not mapped:
        return "anonymous: Python objects, stacks"
    if mapped.startswith("["):
        return f"{mapped}: allocations of libraries" if mapped == "[heap]" else mapped
    file = Path(mapped).name
    return file if any(word in file for word in ("python3", "crypto", "ssl", "libc.")) else "other libraries and extensions"


@contextmanager
def service() -> Iterator[int]:
    """Serve a small page for the length of a block; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def running(*command: str, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process for the length of a block, and end it as Ctrl-C would."""
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def wait_until_ready(process: subprocess.Popen[str]) -> float:
    """Read the events of a `prx start --json` until its tunnel is verified; return the seconds that it took."""
    began = time.perf_counter()
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("new") == "ready":
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return time.perf_counter() - began
    raise SystemExit("prx ended before its tunnel was verified")


def measure(start: Sequence[str], environ: Mapping[str, str], seconds: float) -> None:
    """Print what a verified tunnel costs while nothing happens."""
    with running(*PRX, *start, environ=environ) as prx:
        print(f"verified after {wait_until_ready(prx):.1f} s")
        pids = {"prx": prx.pid, "connector": children(prx.pid)[0]}
        before = {name: spent(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        used = {name: spent(pid) - before[name] for name, pid in pids.items()}
        for name, pid in pids.items():
            print(f"{name:10} {used[name] / seconds:7.3%} CPU  {resident(pid) / MIB:6.1f} MiB")
        print(f"prx / connector: {used['prx'] / max(used['connector'], 1 / TICKS):.2f} in CPU, over {seconds:g} s")
        bare = resident_when_bare()
        print(f"prx / a Python that sleeps ({bare / MIB:.1f} MiB): {resident(prx.pid) / bare:.2f} in memory\n")
        with suppress(PermissionError):  # prx forbids other users, and itself, to read its memory; root may
            for name, size in parts_of(prx.pid).items():
                print(f"{size / MIB:8.1f} MiB  {name}")


def resident_when_bare() -> int:
    """Return the resident bytes of a Python that has imported nothing."""
    code = "print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        size = resident(process.pid)
        process.communicate(b"\n")
    return size


def measure_imports(start: Sequence[str], environ: Mapping[str, str], folder: Path, most: int) -> None:
    """Print what the imports of a start cost, the dearest packages first."""
    file = folder / "imports.json"
    with running(sys.executable, "-m", "bench.imports", str(file), *start, environ=environ) as prx:
        wait_until_ready(prx)
    rows = json.loads(file.read_text())
    packages: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0])
    for name, size, seconds in rows:
        parts = name.split(".")
        total = packages[".".join(parts[: 2 if parts[0] in {"prx", "dns"} and len(parts) > 1 else 1])]
        total[0] += size
        total[1] += seconds
        total[2] += 1
    print(
        f"\n{len(rows)} imports of `prx start`, {sum(row[1] for row in rows) / MIB:.1f} MiB; by package, without those within:"
    )
    for name, (size, seconds, count) in sorted(packages.items(), key=lambda item: -item[1][0])[:most]:
        print(f"{size / MIB:8.2f} MiB  {seconds * 1000:6.1f} ms  {count:3.0f}  {name}")


def measure_commands(environ: Mapping[str, str]) -> None:
    """Print how long the cheap commands take, as ratios to a Python that does nothing; in turn, medians."""
    commands = {"python": (sys.executable, "-c", "pass"), **{f"prx {' '.join(words)}": (*PRX, *words) for words in COMMANDS}}
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, env=environ, capture_output=True, check=False)
            times[name].append(time.perf_counter() - began)
    usual = {name: statistics.median(found) for name, found in times.items()}
    print()
    for name, took in usual.items():
        print(f"{name:12} {took * 1000:6.0f} ms  {took / usual['python']:5.2f}")


def main() -> None:
    """Start lab and service, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--connector", default="builtin")
    parser.add_argument("--imports", type=int, default=25, help="how many packages to list")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, service() as port:
        folder = Path(name)
        environ = {"HOME": name, "PRX_DATA_DIR": name, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        config = folder / "bench.toml"
        config.write_text(f'[tunnel]\nlocal_addr = "{port}"\n[tunnel.cloudflare]\ncloudflared_path = "{arguments.connector}"\n')
        with running(*PRX, "lab", "--json", environ=environ) as lab:
            assert lab.stdout is not None
            control = json.loads(lab.stdout.readline())["control"]
            start = ("start", "-c", str(config), "--json", f"--lab={control}")
            measure(start, environ, arguments.seconds)
            measure_imports(start, environ, folder, arguments.imports)
            measure_commands(environ)


if __name__ == "__main__":
    main()
