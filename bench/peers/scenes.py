"""What is measured of each: a scene runs one subject once, and returns figures by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from bench.peers.processes import children, resident, spent, until
from bench.peers.supervisors import Job, Running, direct_children, running, wait_for_children

Figures = dict[str, float]
LAST = "this is the last line"
SECRET = "eyJhIjoiMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCJ0IjoiMDEyMzQ1NiIsInMiOiJhYmNkZWYifQ=="


def make_clients(folder: Path) -> dict[str, str]:
    """Write the programs that are kept running: `idle` does nothing; `loud` and `pouring` write `folder/lines` before that.

    `loud` writes each line by itself, `pouring` in pieces of 128 KiB; both begin when `folder/go` is written to. (cloudflared
    2026.8.2 takes four calls of write(2) for a line of JSON, by strace.)
    """
    folder.mkdir(parents=True, exist_ok=True)
    sleeper = folder / "bench-client-sleep"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", sleeper)
    found = {}
    os.mkfifo(folder / "go")
    wait = f"read go <{folder}/go\n"
    for name, work in (
        ("idle", ""),
        ("loud", f"{wait}grep --line-buffered '' {folder}/lines >&2\n"),
        ("pouring", f"{wait}cat {folder}/lines >&2\n"),
    ):
        script = folder / f"bench-client-{name}"
        version = 'case "$*" in *--version*) echo "cloudflared version 2026.8.2 (built 2026-08-20-1200 UTC)"; exit;; esac'
        script.write_text(f"#!/bin/sh\n{version}\n{work}exec {sleeper} 1000000\n")
        script.chmod(0o755)
        found[name] = str(script)
    return found


def write_lines(folder: Path, count: int) -> None:
    """Write `count` lines as cloudflared writes them as JSON; one of a thousand holds a token."""
    with (folder / "lines").open("w") as file:
        for number in range(count):
            secret = f',"token":"{SECRET}"' if number % 1000 == 500 else ""
            file.write(
                f'{{"level":"debug","event":1,"connIndex":{number % 4},"originService":"http://127.0.0.1:8080","ingressRule":0,'
                f'"time":"2026-11-22T17:12:10Z","message":"GET https://app.example.com/item/{number} HTTP/1.1"{secret}}}\n'
            )
        file.write(f'{{"level":"info","time":"2026-11-22T17:12:11Z","message":"{LAST}"}}\n')


def respawn(name: str, job: Job) -> Figures:
    """Kill a child that has run for some seconds, and wait for its successor."""
    with running(name, job) as one:
        wait_for_children(one, 1)
        time.sleep(3.0)
        if not one.kept:
            return {}
        before = one.kept[0]
        os.kill(before, signal.SIGKILL)
        try:
            took = until(lambda: bool(set(one.kept) - {before}), within=20.0, what="a successor")
        except RuntimeError:
            return {}
        return {"child's death to its successor, s": took}


def lines(name: str, job: Job, go: Path) -> Figures:
    """Have a child that has run for a second write many lines at once, and wait until all are in the file."""
    with running(name, job) as one:
        wait_for_children(one, 1)
        time.sleep(1.0)
        go.write_text("\n")
        before, began = spent(one.own), time.perf_counter()
        until(lambda: LAST.encode() in _end_of(one), within=300.0, every=0.01, what="the last line")
        took = time.perf_counter() - began
        cost = spent(one.own) - before
        files = [*one.log.parent.glob("*")] if name == "prx" else [one.log]
        text = b"".join(file.read_bytes() for file in files if file.is_file())
        return {"lines: seconds": took, "lines: CPU seconds": cost, "lines: leaks": text.count(SECRET.encode())} | (
            {"lines: said to be skipped": _skipped(text)} if name == "prx" else {}
        )


def _skipped(text: bytes) -> float:
    """Return how many lines prx says that it has not kept."""
    found = 0
    for line in text.splitlines():
        if b"lines were dropped here" in line or b"were skipped: too many at once" in line:
            with suppress(ValueError):
                found += int(str(json.loads(line)["message"]).split()[0])
    return found


def _end_of(one: Running) -> bytes:
    """Return the end of what is in the log so far."""
    folder = one.log.is_dir()
    files = sorted(one.log.glob("*.log")) if folder else [one.log]
    text = b""
    for file in files:
        with suppress(OSError), file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - 8192))
            text += opened.read()
    return text


def fleet(name: str, job: Job, *, rest: float, idle: float) -> Figures:
    """Start many, and measure what they cost while they do nothing, and how soon it answers for all."""
    began = time.perf_counter()
    with running(name, job) as one:
        count: Callable[[], int] = (lambda: direct_children(one)) if job.count > 100 else (lambda: len(one.kept))
        if one.process.stdout is not None:
            threading.Thread(target=one.process.stdout.read, daemon=True).start()
        until(lambda: count() >= job.count, within=240.0, every=0.05, what=f"{job.count} children")
        found = {"started, s": time.perf_counter() - began}
        time.sleep(rest)
        own = one.own if job.count <= 100 else [one.process.pid]
        before, since = spent(own), time.perf_counter()
        time.sleep(idle)
        found["idle CPU, % of a core"] = 100 * (spent(own) - before) / (time.perf_counter() - since)
        found["memory, MiB"] = resident(own)
        if name in ASKED:
            found |= _status(one, name, job)
        if name == "prx" and job.count >= 300:
            found |= _death_of_all(one, job)
    return found


def _status(one: Running, name: str, job: Job) -> Figures:
    times = sorted(ASKED[name](job) for _ in range(100))
    return {"status: median, ms": 1000 * statistics.median(times), "status: 99 of 100 within, ms": 1000 * times[-2]}


def _death_of_all(one: Running, job: Job) -> Figures:
    """Kill all children at once, and ask for the status until each has a successor or waits for one; then stop."""
    times: list[float] = []
    for pid in children(one.process.pid):
        os.kill(pid, signal.SIGKILL)
    end = time.perf_counter() + 8.0
    while time.perf_counter() < end:
        times.append(_ask_prx(job))
        time.sleep(0.01)
    one.process.send_signal(signal.SIGTERM)
    until(lambda: not children(one.process.pid), within=120.0, every=0.01, what="the end of all children")
    began = time.perf_counter()
    until(lambda: one.process.poll() is not None, within=120.0, every=0.01, what="the end of prx")
    return {"all die: worst status, ms": 1000 * max(times), "stop after the last child, s": time.perf_counter() - began}


def _ask_prx(job: Job) -> float:
    return _exchange(
        next((job.folder / "data" / "run").glob("*.sock")), b'{"do":"status"}\n', lambda data: data.endswith(b"\n")
    )


def _ask_supervisord(job: Job) -> float:
    body = b"<?xml version='1.0'?><methodCall><methodName>supervisor.getAllProcessInfo</methodName><params/></methodCall>"
    head = f"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return _exchange(job.folder / "sock", head + body, lambda data: b"</methodResponse>" in data)


ASKED: dict[str, Callable[[Job], float]] = {"prx": _ask_prx, "supervisord": _ask_supervisord}


def _exchange(path: Path, request: bytes, whole: Callable[[bytes], bool]) -> float:
    """Return the seconds that a question over a socket takes."""
    began = time.perf_counter()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(request)
        data = b""
        while not whole(data[-64:] if len(data) > 64 else data):
            part = connection.recv(1 << 16)
            if not part:
                break
            data += part
    return time.perf_counter() - began


def medians(rows: Sequence[Figures]) -> dict[str, tuple[float, float, float]]:
    """Return (median, least, most) of each figure."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = {}
    for name in names:
        values = [row[name] for row in rows if name in row]
        found[name] = statistics.median(values), min(values), max(values)
    return found
