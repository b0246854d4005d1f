"""Tunnels from Python: a thin client over a `prx start --json` of its own, or over the one that runs already.

    with prx.tunnel(8080) as t: ...                     # scripts, notebooks, threads
    async with prx.open_tunnel(8080) as t: ...          # the same on a running asyncio loop
    FastAPI(lifespan=prx.asgi.lifespan(8080))           # one tunnel however many workers and reloads

Theory of operation. Every program that opens a tunnel for the same configuration and address computes the name of the same
control socket (`wish`). If a prx listens there it is joined, else one is started (`starter`); prx's own instance lock decides
if several are started at once, and the others join the one that has it (`opening`). prx is no child of the program: it leaves
the process tree, so that the program has nothing to wait for. What binds it is a *hold* (`link`), an open connection whose end
the kernel reports, also after `kill -9`; with the last one prx ends. A fork takes no hold with it (`prx.control.forks`).

Nothing runs in the program but a thread while `on_change` is in use, and one while an asynchronous tunnel opens or closes.
There is no signal handler, no child, no event loop; everything asked for goes over the control socket.
"""
