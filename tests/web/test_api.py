"""The API keeps what its document says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.web.conftest import Scene, ScriptedPrx
from tests.web.states import many, write_history, write_log

from prx.core.states import State
from prx.web.openapi import document

ROOT = Path(__file__).parents[2]


def test_the_document_is_valid_openapi() -> None:
    """Generators of clients can read the document: its references lead somewhere and each operation says its answers."""
    found = document()

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                target: Any = found
                for name in part["$ref"].removeprefix("#/").split("/"):
                    target = target[name]
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(found)
    assert found["openapi"].startswith("3.1")
    for path in found["paths"].values():
        for operation in path.values():
            assert {"200", "401", "421"} <= set(operation["responses"])


async def test_the_log_is_filtered(web: Scene, tmp_path: Path) -> None:
    """Level, text and number choose lines; a wrong or a misspelt parameter is an error that names it."""
    prx = ScriptedPrx(log=str(write_log(tmp_path / "prx.log")))
    prx.track(state=State.READY)
    await web.start("prx-1", prx)

    async def messages(query: str) -> list[str]:
        return [line["message"] for line in (await web.ask(f"/api/v1/logs{query}")).json()["lines"]]

    assert len(await messages("")) == 9
    assert [line[:6] for line in await messages("?level=warn")] == ["GET /<", "origin"]
    assert len(await messages("?text=CLOUDFLARED")) == 4
    assert len(await messages("?lines=2")) == 2
    for wrong in ("level=loud", "lines=0", "lines=1e9", "lines=-1", "lines=", "line=3", "level=info&level=warn"):
        answer = await web.ask(f"/api/v1/logs?{wrong}")
        assert answer.status_code == 400
        assert wrong.partition("=")[0] in answer.json()["error"]


async def test_the_report_is_that_of_the_command(web: Scene) -> None:
    """The report has every tunnel with its prx, its percent and, if asked for, its timeline."""
    await web.start("prx-1", many(2))
    write_history(web.folder / "history", "prx-1", ["service-0", "service-1"])
    whole = (await web.ask("/api/v1/report?since=86400")).json()
    assert [item["tunnel"] for item in whole["tunnels"]] == ["service-0", "service-1"]
    one = (await web.ask("/api/v1/report?since=86400&tunnel=service-1&timeline=true")).json()["tunnels"]
    assert [item["prx"] for item in one] == ["prx-1"]
    assert {span["cause"] for span in one[0]["timeline"]} >= {"", "origin_down", "edge_lost", "offline", "crashed"}
    assert (await web.ask("/api/v1/report?prx=other")).json()["tunnels"] == []
    assert (await web.ask("/api/v1/report?since=7d")).status_code == 400
