"""The report of a bounded run: read from what is committed, so it is the same however often the run crashed."""

from dataclasses import asdict, dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streamflow.engine.counters import NodeCounts, TaskCounters
from streamflow.engine.program import compile_stage
from streamflow.errors import BrokerUnavailable
from streamflow.plan.plan import Plan
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.runs import RunRecord, committed_progress
from streamflow.runtime.topics import ensure_topics
from streamflow.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class NodeReport:
    """Rows of one node over the whole run. `rows_late`: behind their windows; `rows_dead`: became dead letters."""

    stage: str
    node: str
    rows_in: int
    rows_out: int
    rows_late: int
    rows_dead: int


@dataclass(frozen=True, slots=True)
class TableReport:
    """A table: how many results its node gave, and the topic that has its rows."""

    table: str
    results: int
    topic: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a bounded run did. Times in ms since the epoch and seconds; offsets per source partition.

    dead_letters: by reason, over the whole dead-letter topic of the run.
    """

    topology: str
    run: str
    completed: bool
    start: str
    begun_ms: int
    took_s: float
    sources: list[dict[str, int | str]]
    nodes: list[NodeReport]
    tables: list[TableReport]
    dead_letters: dict[str, int]

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


async def report(plan: Plan, settings: Settings, record: RunRecord, took_s: float) -> RunReport:
    """Report of a run as far as it is committed. Raises BrokerUnavailable."""
    counts = await ensure_topics(plan, settings)
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        found = await committed_progress(admin, plan, settings, counts)
        letters = await _letters(plan, settings)
    except KafkaError as error:
        raise BrokerUnavailable(f"the report cannot be read: {error!r}") from error
    finally:
        await disconnect(admin)
    sums: dict[tuple[str, str], NodeCounts] = {}
    for stage in plan.stages:
        program = compile_stage(stage, plan)
        for partition in range(counts[stage.input_topics[0]]):
            counters = TaskCounters(program)
            flat = found[stage.name, partition].counts
            if flat:
                counters.resume(flat)
            for node, each in counters.by_node().items():
                sums[stage.name, node] = each.plus(sums.get((stage.name, node)))
    results = {node: each.rows_out for (_, node), each in sums.items()}
    return RunReport(
        topology=plan.topology,
        run=plan.run,
        completed=all(progress.has_ended for progress in found.values()),
        start=record.start,
        begun_ms=record.begun_ms,
        took_s=round(took_s, 3),
        sources=[
            {"topic": topic, "partition": partition, "start": record.starts[topic, partition], "end": end}
            for (topic, partition), end in sorted(record.ends.items())
        ],
        nodes=[
            NodeReport(stage, node, each.rows_in, each.rows_out, each.late, each.dead)
            for (stage, node), each in sums.items()
        ],
        tables=[
            TableReport(table.name, results.get(table.node, 0), table.changelog_topic)
            for stage in plan.stages
            for table in stage.tables
        ],
        dead_letters=letters,
    )


async def _letters(plan: Plan, settings: Settings) -> dict[str, int]:
    """Committed dead letters of the run by reason."""
    found: dict[str, int] = {}
    async with CommittedLog(settings, plan.dead_letter_topic) as log:
        async for record in log.records():
            reason = dict(record.headers).get("sf-reason", b"").decode(errors="replace")
            found[reason] = found.get(reason, 0) + 1
    return dict(sorted(found.items()))
