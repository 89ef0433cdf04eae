"""Queries of global tables: every worker answers by itself, from what it has in memory."""

import asyncio
import time
from typing import Any

from fastapi import Response

from streamflow.engine.global_table import FollowedTable
from streamflow.model.position import Positions
from streamflow.query.request import Reason, RowState, TableQuery, encode_cursor
from streamflow.state.keys import key_bytes
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal

_STEP_S = 0.01


async def answer_global(
    service: Service, name: str, query: TableQuery, token: Positions | None, wait_s: float
) -> Response:
    """Rows `{key, final, value}` in order of their keys. They are never final, and know no watermark."""
    local = await _reflecting(service, name, token or {}, wait_s)
    if local.ratio < 1:
        detail = f"global table {name} is being read, {local.ratio:.0%} done"
        raise Refusal(503, Reason.RESTORING, detail, retry_after_s=1)
    rows = _rows(local, query)
    shown = rows[: query.limit]
    cursor = encode_cursor(key_bytes(shown[-1]["key"])) if len(rows) > query.limit else None
    about = {"watermark": None, "staleness_ms": None, "lag": local.lag, "served_by": [service.url]}
    return JsonResponse({"rows": shown, "cursor": cursor, **about})


async def _reflecting(service: Service, name: str, token: Positions, wait_s: float) -> FollowedTable:
    """The table once it reflects a publish."""
    deadline = time.monotonic() + wait_s
    while True:
        local = service.global_table(name)
        wanted = token.get(local.table.plan.topic, {})
        distance = sum(max(0, end - local.positions.get(partition, 0)) for partition, end in wanted.items())
        if distance == 0:
            return local
        if time.monotonic() >= deadline:
            detail = f"{distance} records are not reflected yet"
            raise Refusal(202, Reason.NOT_REFLECTED, detail, retry_after_s=1, distance=distance)
        await asyncio.sleep(_STEP_S)


def _rows(local: FollowedTable, query: TableQuery) -> list[dict[str, Any]]:
    """At most limit + 1 rows: the one too many tells that there are more."""
    table = local.table
    after = None if query.after is None else table.key_of(query.after)
    if query.after is not None and after is None:
        raise Refusal(422, "bad_parameter", "the cursor is of another table: pass it as the answer before gave it")
    if query.state is RowState.FINAL:
        return []
    keys: list[Any] = table.keys_behind(after, query.limit + 1) if query.key is None else [table.key_of(query.key)]
    return [row for key in keys if (row := table.shown(key)) is not None]
