"""A service that notes each request in a file before it answers; it is killed at any time. `python service.py PORT FILE`."""

from __future__ import annotations

import asyncio
import os
import sys


async def main(port: int, notes: int) -> None:
    """Serve until killed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST "):
                body = await reader.readexactly(32)
                retry = b"1" if b"\r\nX-PRX-Retry:" in head else b"0"
                os.write(notes, head.split()[1] + b" " + retry + b" " + body.strip() + b"\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1024, reuse_port=True)
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)))
