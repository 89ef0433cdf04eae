"""GET …/tables/{table}/why: why a window has not closed. The key's owner answers, and asks who has the tasks behind it.

    any worker ──► owner of the key ──► explain ──► who else must be known? ──► their workers, at once ──► explain …

One round per stage of the chain. All rounds together take at most WITHIN_S; who has not answered then is named in the
answer as not known, so there is always one.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
from fastapi import Query, Response

from streamflow.errors import OwnerUnreachable, UserError
from streamflow.model.partitioner import partition_of
from streamflow.plan.plan import TablePlan
from streamflow.query.request import Reason
from streamflow.query.standing import TaskId, TaskStanding, WindowFacts
from streamflow.query.why import Explanation, Status, explain
from streamflow.query.why_text import picture, sentences
from streamflow.query.window_facts import WindowQuestion, is_closed_by_time, window_facts
from streamflow.state.keys import key_from_bytes
from streamflow.web.control import held_sentence
from streamflow.web.ports import LocalTable, Service
from streamflow.web.problems import JsonResponse, Refusal
from streamflow.web.routes import Routes
from streamflow.web.tables import known_table, moment_ms

#: Budget of the questions to other workers; less than what a worker waits for an answer that it forwards.
WITHIN_S = 1.5
#: Tasks named in one question, so that the address stays short.
_TASKS_PER_QUESTION = 100


def why_routes(service: Service) -> Routes:
    """Routes that explain."""
    router = Routes()

    @router.get("/v1/topologies/{topology}/tables/{table}/why", tags=["query"], operation_id="why_window")
    async def why_window(
        topology: str,
        table: str,
        key: str = Query(description="the key", min_length=1),
        window: str | None = Query(None, description="a moment in the window, ms or ISO 8601; the first open one"),
    ) -> Response:
        """Why a window has not closed: `sentences` and `picture` for people, the rest for programs.

        `holders` are the partitions and producers that hold it, each with what it needs; `closes_by_at_ms` is when it
        closes without any event, null when it needs one.
        """
        known = known_table(service, topology, table)
        if known is None:
            raise Refusal(422, "not_closed_by_time", f"{table} is a global table: it has no windows")
        stage, found = known
        if not is_closed_by_time(found):
            raise Refusal(422, "not_closed_by_time", _timeless(found))
        try:
            time_ms = moment_ms(window)
        except UserError as error:
            raise Refusal(422, "bad_parameter", str(error)) from error
        partition = partition_of(key.encode(), service.partition_count(stage.input_topics[0]))
        question = WindowQuestion(stage, found, partition, key.encode(), time_ms)
        local = service.local(stage, partition)
        if local is None:
            return await _forwarded(service, question)
        if isinstance(local, float):
            detail = f"partition {partition} is being restored, {local:.0%} done"
            raise Refusal(503, Reason.RESTORING, detail, retry_after_s=1, partition=partition)
        body = _body(await _explained(service, question, local))
        held = held_sentence(service.plan.topology, service.controls.standing())
        return JsonResponse({**body, "sentences": [*held, *body["sentences"]]})

    @router.get("/v1/topologies/{topology}/standings", tags=["look"], operation_id="show_standings")
    async def show_standings(
        topology: str, tasks: str = Query(description="own tasks, such as sales/0,sales/3 (between workers)")
    ) -> Response:
        """Where own tasks stand in time: watermarks, idleness, positions and producers' marks."""
        if topology != service.plan.topology:
            raise Refusal(404, "unknown_topology", f"no topology {topology!r}; there is {service.plan.topology!r}")
        found = [_own(service, task) for task in _task_ids(tasks)]
        return JsonResponse({"standings": msgspec.to_builtins(found)})

    return router


def _timeless(table: TablePlan) -> str:
    kind = type(table.window).__name__.lower()
    if table.window is None:
        return f"{table.name} has no windows"
    closing = "close at an event, not by time" if kind == "counted" else "never close"
    return f"windows of {table.name} {closing}: ask for its rows instead"


def _task_ids(text: str) -> list[TaskId]:
    pairs = [each.rpartition("/") for each in text.split(",")]
    if not all(stage and number.isdecimal() and len(number) < 8 for stage, _, number in pairs):
        raise Refusal(422, "bad_parameter", f"{text!r} is no list of tasks: write sales/0,sales/3")
    return [(stage, int(number)) for stage, _, number in pairs]


def _own(service: Service, task: TaskId) -> TaskStanding:
    found = service.standing(*task)
    return TaskStanding(*task, worker=service.url, missing="it has just left its worker") if found is None else found


async def _forwarded(service: Service, question: WindowQuestion) -> Response:
    """The owner's answer."""
    url = service.owner(question.stage, question.partition)
    if not url or url == service.url:
        detail = f"partition {question.partition} is being assigned"
        raise Refusal(503, Reason.NOT_ASSIGNED, detail, retry_after_s=1, partition=question.partition)
    path = f"/v1/topologies/{service.plan.topology}/tables/{question.table.name}/why"
    parameters = {"key": question.key.decode()}
    if question.time_ms is not None:
        parameters["window"] = str(question.time_ms)
    try:
        status, body = await service.ask(url, path, parameters)
    except OwnerUnreachable as error:
        detail = f"the worker at {url} does not answer: {error}"
        raise Refusal(503, Reason.OWNER_UNREACHABLE, detail, retry_after_s=1, owner=url) from error
    if status == 200:
        return JsonResponse(body)
    # Anything else, such as that it does not know this worker, is nothing that the client could mend.
    told, retry = (status, None) if status in (404, 422) else (503, 1)
    raise Refusal(told, str(body.get("title")), f"{url}: {body.get('detail')}", retry_after_s=retry)


async def _explained(service: Service, question: WindowQuestion, local: LocalTable) -> Explanation:
    stage, partition = question.stage.name, question.partition
    own, history = service.standing(stage, partition), service.history(stage, partition)
    if own is None or own.missing or history is None:
        raise Refusal(503, Reason.NOT_ASSIGNED, f"partition {partition} is being assigned", retry_after_s=1)
    reader = service.reader(question.stage, question.table)
    try:
        facts = window_facts(question, reader, local.store, local.watermark_ms)
    except UserError as error:
        raise Refusal(404, "no_open_window", str(error)) from error
    standings = {(stage, partition): own}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WITHIN_S
    while True:
        made = explain(facts, standings)
        if not made.unasked:
            return replace(made, window=_remembered(service, question, made))
        standings |= await _standings(service, made.unasked, deadline - loop.time())


def _remembered(service: Service, question: WindowQuestion, made: Explanation) -> WindowFacts:
    """Facts of the window, with what its task remembers."""
    facts, history = made.window, service.history(question.stage.name, question.partition)
    if history is None:
        return facts
    node = next(number for number, each in enumerate(question.stage.nodes) if each.name == facts.node)
    passed_ms = facts.fires_at_ms if made.status is Status.FIRED else facts.closes_at_ms
    field = question.table.row_schema.field(question.table.key_name or "")
    key = key_from_bytes(question.key, field is not None and field.type == "int")
    late = history.late(node, key, facts.start_ms, facts.end_ms)
    return replace(facts, closing=history.passed(passed_ms), late=late, opened_at_ms=history.opened_at_ms)


async def _standings(service: Service, tasks: Iterable[TaskId], budget_s: float) -> dict[TaskId, TaskStanding]:
    """Standings of tasks wherever they are; every one asked for is in the answer, if only as missing."""
    found: dict[TaskId, TaskStanding] = {}
    elsewhere: dict[str, list[TaskId]] = {}
    for task in sorted(tasks):
        own = service.standing(*task)
        url = "" if own is not None else service.owner(service.plan.stage(task[0]), task[1])
        if own is not None:
            found[task] = own
        elif not url or url == service.url:
            found[task] = TaskStanding(*task, missing="nobody has it yet, it is being assigned")
        else:
            elsewhere.setdefault(url, []).append(task)
    questions = [
        _asked(service, url, wanted[start : start + _TASKS_PER_QUESTION], budget_s)
        for url, wanted in elsewhere.items()
        for start in range(0, len(wanted), _TASKS_PER_QUESTION)
    ]
    for standings in await asyncio.gather(*questions):
        found |= {(each.stage, each.partition): each for each in standings}
    return found


async def _asked(service: Service, url: str, tasks: list[TaskId], budget_s: float) -> list[TaskStanding]:
    """What another worker says of its tasks; missing with the reason when it does not within the budget."""
    path = f"/v1/topologies/{service.plan.topology}/standings"
    named = ",".join(f"{stage}/{partition}" for stage, partition in tasks)
    try:
        async with asyncio.timeout(max(0.0, budget_s)):
            status, body = await service.ask(url, path, {"tasks": named})
        if status == 200:
            return msgspec.convert(body["standings"], list[TaskStanding])
        why = str(body.get("detail"))
    except (OwnerUnreachable, TimeoutError) as error:
        why = str(error) or f"no answer within {WITHIN_S} s"
    return [TaskStanding(*task, worker=url, missing=f"its worker could not tell: {why}") for task in tasks]


def _body(explained: Explanation) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(explained)
    del body["unasked"]
    return {**body, "sentences": sentences(explained), "picture": picture(explained)}
