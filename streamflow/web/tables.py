"""GET /v1/topologies/{t}/tables/{table}: rows of one key or of all, from whichever workers hold them."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Query, Response

from streamflow.checkpoint.progress import NO_TIME
from streamflow.errors import OwnerUnreachable, UserError
from streamflow.model.codec import time_ms
from streamflow.model.partitioner import partition_of
from streamflow.model.position import Positions, decode_token, encode_token
from streamflow.plan.plan import Stage, TablePlan
from streamflow.query.request import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    Page,
    Reason,
    RowState,
    StoredRow,
    TableQuery,
    decode_cursor,
    encode_cursor,
    merge_pages,
)
from streamflow.web.expected_versions import etag_of, keeps_versions
from streamflow.web.formats import Format, in_format
from streamflow.web.global_tables import answer_global
from streamflow.web.ports import LocalTable, Service
from streamflow.web.problems import JsonResponse, Refusal
from streamflow.web.routes import Routes

#: How long a query with `after` waits for the position, and for other workers.
WAIT_S = 5.0
#: How long all other workers together may take to answer.
ASK_S = 2.0
#: How long another worker may wait for a position; less than what it may take to answer at all.
_REMOTE_WAIT_MS = 1_500
#: Window starts beyond are outside of what a store key can hold.
_TIME_MAX_MS = 2**61
_PATH = "/v1/topologies/{topology}/tables/{table}"
_FORMS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/csv": {}}}}


@dataclass(frozen=True, slots=True)
class _Answer:
    """A page with the watermark it is of, and the worker it is from."""

    page: Page
    watermark_ms: int
    url: str


def table_routes(service: Service) -> Routes:
    """Routes that query tables."""
    router = Routes()
    gather = Gather(service)

    @router.get(_PATH, tags=["query"], operation_id="query_table", responses=_FORMS)
    async def query_table(
        topology: str,
        table: str,
        key: str | None = Query(None, description="one key; all keys when left out"),
        start: str | None = Query(None, alias="from", description="first window start, ms or ISO 8601"),
        to: str | None = Query(None, description="window starts before this, ms or ISO 8601"),
        state: RowState = Query(RowState.LATEST, description="open windows, final ones, or both"),
        limit: int = Query(LIMIT_DEFAULT, ge=1, le=LIMIT_MAX),
        cursor: str | None = Query(None, description="from the answer before"),
        after: str | None = Query(None, description="token of a publish: wait until it is reflected"),
        partitions: str | None = Query(None, description="own partitions to read, such as 0,3 (between workers)"),
        wait_ms: int = Query(int(WAIT_S * 1_000), ge=0, le=30_000, description="how long `after` may wait"),
        wanted_format: Format = Query(
            Format.ROWS, alias="format", description="rows, CSV, or points per key and field"
        ),
    ) -> Response:
        """Rows `{key, start, end, final, value}` in order of start and key, with watermark and staleness.

        A `cursor` in the answer means there may be more, also behind a page with fewer rows than the limit or none: a
        query for one key looks into 1,000 windows at a time.
        """
        found = known_table(service, topology, table)
        if key == "":
            raise Refusal(422, "bad_parameter", "the key is empty: leave the parameter out for all keys")
        try:
            query = TableQuery(
                None if key is None else key.encode(),
                moment_ms(start),
                moment_ms(to),
                state,
                limit,
                None if cursor is None else decode_cursor(cursor),
            )
            token = None if after is None else decode_token(after)
        except UserError as error:
            raise Refusal(422, "bad_parameter", str(error)) from error
        if found is None:
            return in_format(await answer_global(service, table, query, token, wait_ms / 1_000), wanted_format)
        wanted = _partitions(service, found[0], query) if partitions is None else numbers(partitions)
        own: Positions = {}
        if token is not None:
            own, distance = await service.wait_until_reflected(found[0], wanted, token, wait_ms / 1_000)
            if distance > 0:
                detail = f"{distance} records are not reflected yet"
                raise Refusal(202, Reason.NOT_REFLECTED, detail, retry_after_s=1, distance=distance)
        if partitions is not None:
            return gather.own(found[0], found[1], query, wanted)
        return in_format(await gather.answer(found[0], found[1], query, wanted, own), wanted_format)

    return router


def known_table(service: Service, topology: str, name: str) -> tuple[Stage, TablePlan] | None:
    """The stage and table of that name, None for a global table. Raises Refusal when there is none."""
    plan = service.plan
    found = plan.table(name)
    global_tables = [each.name for each in plan.global_tables]
    if topology != plan.topology or (found is None and name not in global_tables):
        names = [each.name for stage in plan.stages for each in stage.tables] + global_tables
        detail = f"no table {topology}/{name}; tables are {', '.join(names) or 'none'}"
        raise Refusal(404, Reason.UNKNOWN_TABLE, detail)
    return found


def moment_ms(text: str | None) -> int | None:
    """Milliseconds of a parameter. Raises UserError."""
    if text is None:
        return None
    try:
        moment = int(text) if text.lstrip("-").isdecimal() else time_ms(text)
        if abs(moment) > _TIME_MAX_MS:
            raise ValueError(text)
        return moment
    except ValueError as error:
        raise UserError(f"{text!r} is no time: give milliseconds since the epoch, or ISO 8601") from error


def _partitions(service: Service, stage: Stage, query: TableQuery) -> list[int]:
    count = service.partition_count(stage.input_topics[0])
    return list(range(count)) if query.key is None else [partition_of(query.key, count)]


class Gather:
    """Collects pages from this worker and, once each, from the others that hold partitions."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(
        self, stage: Stage, table: TablePlan, query: TableQuery, partitions: list[int], after: Positions
    ) -> Response:
        """Rows of all partitions, wherever they are. `after`: positions other workers have to reflect first."""
        mine: list[LocalTable] = []
        elsewhere: dict[str, list[int]] = {}
        for partition in partitions:
            local = self._local(stage, partition)
            if local is not None:
                mine.append(local)
            else:
                elsewhere.setdefault(self._owner(stage, partition), []).append(partition)
        pages = [self._read(stage, table, query, mine)] if mine else []
        asked = {url: self._remote(url, table, query, wanted, after) for url, wanted in elsewhere.items()}
        pages += await _all_within(asked, ASK_S)
        merged, cursor = merge_pages([each.page for each in pages], query.limit)
        is_one = query.key is not None and keeps_versions(stage, table)
        return JsonResponse(_body(merged, cursor, pages), headers={"ETag": etag_of(merged)} if is_one else None)

    def own(self, stage: Stage, table: TablePlan, query: TableQuery, partitions: list[int]) -> Response:
        """Rows of exactly these partitions of this worker, with their store keys; 421 when one is not here."""
        mine: list[LocalTable] = []
        for partition in partitions:
            local = self._local(stage, partition)
            if local is None:
                detail = f"partition {partition} is not on this worker"
                raise Refusal(421, Reason.NOT_OWNER, detail, partition=partition)
            mine.append(local)
        found = self._read(stage, table, query, mine)
        keyed = [{**row.row, "store_key": row.store_key.hex()} for row in found.page.rows]
        until = found.page.until
        return JsonResponse(_body(keyed, None if until is None else encode_cursor(until), [found]))

    def _local(self, stage: Stage, partition: int) -> LocalTable | None:
        """An own partition, None when it is not ours; refused while it is being restored."""
        local = self._service.local(stage, partition)
        if isinstance(local, float):
            detail = f"partition {partition} is being restored, {local:.0%} done"
            raise Refusal(503, Reason.RESTORING, detail, retry_after_s=1, partition=partition)
        return local

    def _read(self, stage: Stage, table: TablePlan, query: TableQuery, mine: list[LocalTable]) -> _Answer:
        page = self._service.reader(stage, table).read_all([(each.store, each.watermark_ms) for each in mine], query)
        return _Answer(page, min(each.watermark_ms for each in mine), self._service.url)

    def _owner(self, stage: Stage, partition: int) -> str:
        url = self._service.owner(stage, partition)
        if not url or url == self._service.url:
            detail = f"partition {partition} is being assigned"
            raise Refusal(503, Reason.NOT_ASSIGNED, detail, retry_after_s=1, partition=partition)
        return url

    async def _remote(
        self, url: str, table: TablePlan, query: TableQuery, partitions: list[int], after: Positions
    ) -> _Answer:
        path = f"/v1/topologies/{self._service.plan.topology}/tables/{table.name}"
        try:
            status, body = await self._service.ask(url, path, _parameters(query, partitions, after))
        except OwnerUnreachable as error:
            detail = f"the worker at {url} does not answer: {error}"
            raise Refusal(503, Reason.OWNER_UNREACHABLE, detail, retry_after_s=1, owner=url) from error
        if status == 202:
            raise Refusal(202, Reason.NOT_REFLECTED, f"{url}: {body.get('detail')}", retry_after_s=1)
        if status != 200:
            raise Refusal(503, str(body.get("title")), f"{url}: {body.get('detail')}", retry_after_s=1, owner=url)
        return _answer_of(body, url)


async def _all_within(asked: dict[str, Coroutine[Any, Any, _Answer]], seconds: float) -> list[_Answer]:
    """Every worker's answer; refused by the first refusal, or by name when some have not answered in time."""
    tasks = {asyncio.create_task(ask): url for url, ask in asked.items()}
    try:
        async with asyncio.timeout(seconds):
            return list(await asyncio.gather(*tasks))
    except TimeoutError as error:
        late = sorted(url for task, url in tasks.items() if task.cancelled())
        detail = f"{', '.join(late)} did not answer within {seconds:.0f} s"
        raise Refusal(503, Reason.OWNER_UNREACHABLE, detail, retry_after_s=1, owner=late[0]) from error
    finally:
        for task in tasks:
            task.cancel()


def _answer_of(body: dict[str, Any], url: str) -> _Answer:
    """What another worker's body says."""
    rows = [StoredRow(bytes.fromhex(each.pop("store_key")), each) for each in body["rows"]]
    cursor, watermark = body["cursor"], body["watermark"]
    page = Page(rows, None if cursor is None else decode_cursor(cursor))
    return _Answer(page, NO_TIME if watermark is None else watermark, url)


def _parameters(query: TableQuery, partitions: list[int], after: Positions) -> dict[str, str]:
    """Parameters of the same query to another worker, for partitions of its own."""
    given = {
        "partitions": ",".join(map(str, partitions)),
        "key": None if query.key is None else query.key.decode(),
        "from": query.from_ms,
        "to": query.to_ms,
        "state": query.state.value,
        "limit": query.limit,
        "cursor": None if query.after is None else encode_cursor(query.after),
        "after": encode_token(after) if after else None,
        "wait_ms": _REMOTE_WAIT_MS,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def numbers(text: str) -> list[int]:
    """Partition numbers of a parameter."""
    if not all(part.isdecimal() and len(part) < 8 for part in text.split(",")):
        raise Refusal(422, "bad_parameter", f"{text!r} is no list of partitions: write 0,3")
    return sorted({int(part) for part in text.split(",")})


def _body(rows: list[dict[str, Any]], cursor: str | None, pages: list[_Answer]) -> dict[str, Any]:
    watermark = min((each.watermark_ms for each in pages), default=NO_TIME)
    known = watermark != NO_TIME
    return {
        "rows": rows,
        "cursor": cursor,
        "watermark": watermark if known else None,
        "staleness_ms": max(0, int(time.time() * 1_000) - watermark) if known else None,
        "served_by": sorted({each.url for each in pages}),
    }
