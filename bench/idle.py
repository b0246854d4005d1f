"""What a quiet, healthy tunnel costs: CPU and memory of prx and of its child, over some seconds, and their ratio.

    python -m bench.idle [--seconds 60] [--connector builtin|PATH]

prx watches its tunnel at full pace: `/ready` every second, the public URL every 30 s. The edge is a lab in a process of its
own, so that it does not count. Figures of one run on one machine; compare the ratio, not the numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from prx.config.schema import CloudflareSettings, Config, TunnelSettings
from prx.core.events import ChildStarted, StateChanged
from prx.runtime.bus import Bus
from prx.runtime.clock import SystemClock
from prx.runtime.supervisor import Supervisor

TICKS = os.sysconf("SC_CLK_TCK")


def spent(pid: int) -> float:
    """Return the CPU seconds that a process has used (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def hold_lab(told: int) -> None:
    """Run a lab and an origin until the parent goes away; tell the parent where they are.

    What they need is imported here, for it would count as the parent's memory otherwise.
    """
    from tests.e2e.origin import serving
    from tests.e2e.world import site_of

    from prx.edge import Lab, LabConfig

    with serving() as origin:
        async with Lab.start(LabConfig()) as lab:
            site = site_of(lab)
            edges = ",".join(site.edge_addrs)
            line = f"{origin.port} {edges} {site.ca_file} {site.quick_service} {site.public_port} {site.doh[0]}\n"
            os.write(told, line.encode())
            await asyncio.get_running_loop().create_future()


async def measure(line: str, seconds: float, connector: str) -> None:
    """Bring a tunnel up and print what it costs."""
    from prx.backends.base import EdgeSite

    port, edges, ca_file, quick, public_port, doh = line.split()
    site = EdgeSite(
        edge_addrs=tuple(edges.split(",")),
        ca_file=Path(ca_file),
        quick_service=quick,
        public_scheme="http",
        public_port=int(public_port),
        doh=(doh,),
        protocols=("http2",),
        local=True,
    )
    settings = TunnelSettings(local_addr=f"127.0.0.1:{port}", cloudflare=CloudflareSettings(cloudflared_path=connector))
    clock = SystemClock()
    bus = Bus(clock)
    ready = asyncio.Event()
    children: list[int] = []

    def see(event: object) -> None:
        fact = event.fact  # type: ignore[attr-defined]
        if isinstance(fact, ChildStarted):
            children.append(fact.pid)
        if isinstance(fact, StateChanged) and fact.new == "ready":
            ready.set()

    bus.listen(see)
    with tempfile.TemporaryDirectory() as folder:
        environ = {"HOME": folder, "PRX_DATA_DIR": folder, "PATH": os.environ["PATH"]}
        supervisor = Supervisor(
            Config(tunnels={"web": settings}), clock=clock, bus=bus, data_dir=Path(folder), site=site, environ=environ
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(supervisor.run(), name="supervisor")
            await ready.wait()
            pids = {"prx": os.getpid(), "child": children[-1]}
            before = {name: spent(pid) for name, pid in pids.items()}
            await asyncio.sleep(seconds)
            used = {name: spent(pid) - before[name] for name, pid in pids.items()}
            for name, pid in pids.items():
                print(f"{name:6} {used[name] / seconds:7.3%} CPU  {resident(pid):6.1f} MB")
            print(f"prx / child: {used['prx'] / max(used['child'], 1 / TICKS):.2f} in CPU, over {seconds:g} s")
            supervisor.stop()


def main() -> None:
    """Fork the lab off, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connector", default="builtin")
    arguments = parser.parse_args()
    hear, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hear)
        asyncio.run(hold_lab(told))
        os._exit(0)
    try:
        with os.fdopen(hear) as ear:
            asyncio.run(measure(ear.readline(), arguments.seconds, arguments.connector))
    finally:
        os.kill(child, 15)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
