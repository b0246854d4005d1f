"""What a debug line says of a request, and what it does not."""

from tests.lab.connector.bench import BUILTIN_ONLY, Bench


@BUILTIN_ONLY
async def test_no_secrets(bench: Bench) -> None:
    """The line names the headers of a request and the status of the answer, and holds no header's value."""
    async with bench.started("--loglevel", "debug") as child:
        await bench.up(child)
        secrets = [(b"cookie", b"CANARY-1"), (b"authorization", b"Bearer CANARY-2"), (b"x-api-key", b"CANARY-3")]
        await bench.edge.fetch("/status/200?q=1", headers=secrets)
        line = await child.line("DBG", "GET /status/200?q=1")
        assert "x-api-key" in line
        await child.line("DBG 200 ", "content-length=6")
        assert not any("CANARY" in each for each in child.lines)
