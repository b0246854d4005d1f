"""The asyncio shell: the only place with processes, sockets and clocks; it performs what the core decides."""
