"""Queries of global tables: every worker answers by itself, from what it has in memory."""

import asyncio
import time

from fastapi import Response

from streamflow.engine.global_table import FollowedTable
from streamflow.model.position import Positions
from streamflow.query.request import Reason, RowState, StoredRow, TableQuery, encode_cursor
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal

_STEP_S = 0.01


async def answer_global(
    service: Service, name: str, query: TableQuery, token: Positions | None, wait_s: float
) -> Response:
    """Rows `{key, final, value}` in order of the keys' bytes. They are never final, and know no watermark."""
    local = await _reflecting(service, name, token or {}, wait_s)
    if local.ratio < 1:
        detail = f"global table {name} is being read, {local.ratio:.0%} done"
        raise Refusal(503, Reason.RESTORING, detail, retry_after_s=1)
    rows = _rows(local, query)
    shown = rows[: query.limit]
    cursor = encode_cursor(shown[-1].store_key) if len(rows) > query.limit else None
    about = {"watermark": None, "staleness_ms": None, "lag": local.lag, "served_by": [service.url]}
    return JsonResponse({"rows": [row.row for row in shown], "cursor": cursor, **about})


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


def _rows(local: FollowedTable, query: TableQuery) -> list[StoredRow]:
    """At most limit + 1 rows: the one too many tells that there are more."""
    if query.state is RowState.FINAL:
        return []
    table = local.table
    if query.key is None:
        keys = table.keys_behind(query.after, query.limit + 1)
    else:
        keys = [query.key] if query.after is None or query.key > query.after else []
    return [StoredRow(key, row) for key in keys if (row := table.find(key)) is not None]
