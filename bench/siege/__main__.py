"""What hostile clients of the dashboard cost the supervision of a tunnel: how soon prx answers and reacts, calm and attacked.

    python -m bench.siege [--seconds 10] [--rounds 3] [--connector builtin|PATH] [--clients 200] [--dead 50]
        [--connections 10000]

`prx start` watches a verified quick tunnel, with `--inspect` and with the dashboard as its child; lab, service and visitors are
processes of their own. Calm and attack take turns. In the attack, clients in another process keep 200 streams of events open,
of which 50 stop reading, open 10,000 connections, send requests of 1 GB (as a length, and in chunks), and load pages without
end, one of them with another filter each time. Meanwhile prx is asked over its control socket fifty times a second, and its
connector is killed, until prx says so in its events; the processor time of prx alone is counted in both. Figures of one run on
one machine: compare the ratios. It ends with 1 if prx was held up, if the attack cost it more of a processor than readers may,
if the dashboard does not give way to it, or if memory grew beyond bounds.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.idle import MIB, PRX, running, service
from bench.imports import resident
from bench.siege.subject import PATIENCE, Figures, Subject

LONGEST = 0.5  # seconds that prx may be held up by an attack beyond the calm
RATIO = 3.0  # of the medians; one beyond it is a fault unless it is below a millisecond
READERS = 0.3  # of a processor, that an attack may cost prx beyond the calm: a quarter for questions, the rest for its status
MOST_MIB = 160  # of the dashboard


@contextmanager
def attacked(url: str, bearer: str, options: argparse.Namespace, done: list[dict[str, int]]) -> Iterator[None]:
    """Attack for the length of a block."""
    host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
    numbers = [str(item) for item in (options.clients, options.dead, options.connections)]
    # real attackers would compute elsewhere: theirs give way as the dashboard does
    command = ("nice", "-n", "10", sys.executable, "-m", "bench.siege.attack", host, port, bearer, *numbers)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it runs
            yield
        finally:
            process.terminate()
            out, _ = process.communicate()
            done.append(json.loads(out))


@contextmanager
def visited(subject: Subject, path: str, rate: float) -> Iterator[list[int]]:
    """Have visitors, so that there are requests and events, for the length of a block; gives the statuses that they got."""
    over, found = threading.Event(), []

    def visit() -> None:
        while not over.wait(1 / rate):
            parts = urlsplit(subject.url)
            with suppress(OSError, HTTPException):
                connection = HTTPConnection("127.0.0.1", parts.port or 80, timeout=5)  # the lab's names lead there
                connection.request("GET", path, headers={"Host": parts.netloc})
                found.append(connection.getresponse().status)
                connection.close()

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status_of(url: str, bearer: str) -> dict[str, Any]:
    """Return what the dashboard says of itself."""
    request = urllib.request.Request(f"{url}api/v1/status", headers={"authorization": f"Bearer {bearer}"})
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                found: dict[str, Any] = json.loads(answer.read())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            if found["prx"] or time.monotonic() > end:
                return found
            time.sleep(0.1)


def dashboard_of(prx: int) -> int:
    """Return the process of the dashboard, a child of `prx`."""
    for name in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parent = int((name / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == prx and b"\0web\0" in (name / "cmdline").read_bytes():
                return int(name.name)
    raise SystemExit("the dashboard does not run")


def judge(calm: Figures, busy: Figures, prx_mib: tuple[float, float], web_mib: float) -> list[str]:
    """Return what is not as it must be."""
    faults = []
    medians = statistics.median(calm.answers), statistics.median(busy.answers)
    if medians[1] > max(RATIO * medians[0], 0.001):
        faults.append(f"answers take {medians[1] / medians[0]:.1f} times as long in the middle")
    if max(busy.answers) > max(calm.answers) + LONGEST:
        faults.append(f"an answer took {max(busy.answers):.2f} s")
    if busy.share > calm.share + READERS:
        faults.append(f"prx used {100 * busy.share:.0f} % of a processor, and {100 * calm.share:.0f} % when calm")
    if prx_mib[1] > prx_mib[0] + 16:
        faults.append(f"prx grew from {prx_mib[0]:.0f} to {prx_mib[1]:.0f} MiB")
    if web_mib > MOST_MIB:
        faults.append(f"the dashboard has {web_mib:.0f} MiB")
    return faults


def run(options: argparse.Namespace) -> int:
    """Measure, print, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="prx-bench-") as name, service() as port:
        folder, listen = Path(name), free_port()
        environ = {
            "HOME": name,
            "PRX_DATA_DIR": f"{name}/data",
            "XDG_RUNTIME_DIR": name,
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        }
        config = folder / "bench.toml"
        config.write_text(
            f'[tunnel]\nlocal_addr = "{port}"\n'
            f'[tunnel.cloudflare]\ncloudflared_path = "{options.connector}"\nlog_level = "debug"\n'
            f'[tunnel.inspect]\nenabled = true\n[web]\nlisten = "127.0.0.1:{listen}"\n'
        )
        with running(*PRX, "lab", "--json", environ=environ) as lab:
            assert lab.stdout is not None
            control = json.loads(lab.stdout.readline())["control"]
            with running(*PRX, "start", "-c", str(config), "--json", f"--lab={control}", environ=environ) as prx:
                return measured(prx, folder, f"http://127.0.0.1:{listen}/", environ, options)


def measured(prx: subprocess.Popen[str], folder: Path, web: str, environ: dict[str, str], options: argparse.Namespace) -> int:
    """Take turns, and print the table."""
    control = _control_socket(folder)
    subject = Subject(control, prx)
    if not subject.ready.wait(PATIENCE):
        raise SystemExit("the tunnel did not come up")
    bearer = said(environ, "web", "--token").strip()
    status_of(web, bearer)
    dashboard = dashboard_of(prx.pid)
    if os.getpriority(os.PRIO_PROCESS, dashboard) <= os.getpriority(os.PRIO_PROCESS, prx.pid):
        raise SystemExit("the dashboard does not give way to prx: its nice value is not higher")
    calm, busy, web_mib = Figures(), Figures(), 0.0
    done: list[dict[str, int]] = []
    before = resident(prx.pid) / MIB
    with visited(subject, f"/{'x' * 1500}", 50) as visits:
        for _ in range(options.rounds):
            subject.measure(options.seconds, options.kills, calm)
            with attacked(web, bearer, options, done):
                subject.measure(options.seconds, options.kills, busy)
                web_mib = max(web_mib, resident(dashboard) / MIB)
    after = resident(prx.pid) / MIB
    if dashboard_of(prx.pid) != dashboard:
        raise SystemExit("the dashboard has ended")
    print("ms         | answers |  median |    95 % |    99 % | longest | from a kill | of a processor")
    print(calm.row("calm"))
    print(busy.row("attacked"))
    ratio = statistics.median(busy.answers) / statistics.median(calm.answers)
    print(f"ratio of the medians {ratio:.2f}; prx {before:.0f} → {after:.0f} MiB; the dashboard at most {web_mib:.0f} MiB")
    total = sum((Counter(item) for item in done), Counter[str]())
    print("the attackers:", ", ".join(f"{number} {what}" for what, number in sorted(total.items())))
    print("the visitors got:", dict(Counter(visits)))
    print("the dashboard counted:", json.dumps(status_of(web, bearer)["dashboard"]))
    faults = judge(calm, busy, (before, after), web_mib)
    print("\n".join(f"FAULT: {text}" for text in faults) or "nothing was held up")
    return 1 if faults else 0


def said(environ: dict[str, str], *command: str) -> str:
    """Return what a command of prx prints."""
    return subprocess.run([*PRX, *command], env=environ, capture_output=True, text=True, check=False).stdout


def _control_socket(folder: Path) -> Path:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := list(folder.rglob("*.sock")):
            return found[0]
        time.sleep(0.05)
    raise SystemExit("prx has no control socket")


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=3, help="in each turn")
    parser.add_argument("--connector", default="builtin")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--dead", type=int, default=50)
    parser.add_argument("--connections", type=int, default=10_000, help="in each attack")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
