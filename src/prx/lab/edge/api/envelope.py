"""The envelope around every answer, and the pages of lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from prx.core.numbers import whole
from prx.lab.edge.api.call import Call, Reply
from prx.lab.edge.api.errors import ApiError
from prx.lab.edge.api.habits import Habits
from prx.lab.edge.services.endpoint import Answer


def success(reply: Reply, habits: Habits) -> Answer:
    """Answer with a result."""
    remark = [{"code": 10100, "message": "This call will change on 2027-01-31."}]
    remarks = {key: remark if habits.remarks == key else [] for key in ("errors", "messages")}
    document: dict[str, Any] = {"success": True, **remarks, "result": reply.result}
    if reply.info is not None:
        document["result_info"] = reply.info
    return answer(reply.status, document)


def failure(error: ApiError, habits: Habits) -> Answer:
    """Answer that a call is refused."""
    described = error.describe()
    if habits.code_as_text == "yes":
        described["code"] = str(described["code"])
    listed = [described] if error.code else []  # a limit may be reached before there is anything to say of the call
    return answer(error.status, {"success": False, "errors": listed, "messages": [], "result": None}, error.headers)


def answer(status: int, document: Any, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Answer with JSON, as the API writes it; cloudflared reads errors only if the type is exactly `application/json`."""
    return Answer(status, json.dumps(document, separators=(",", ":")).encode(), headers=headers)


def page(call: Call, items: Sequence[Any], *, default: int = 20, most: int = 1000) -> Reply:
    """Return the page of a list that a call asks for."""
    number, size = _number(call.query.get("page"), 1), min(most, _number(call.query.get("per_page"), default))
    shown = list(items[(number - 1) * size : number * size])
    info = {"page": number, "per_page": size, "count": len(shown), "total_count": len(items)}
    if call.habits.total_pages == "yes":
        info["total_pages"] = -(-len(items) // size)
    return Reply(shown, info=info)


def _number(text: str | None, default: int) -> int:
    return whole(text) or default
