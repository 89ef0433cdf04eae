"""What two runs of a topology wrote, compared: the rows of each sink as a multiset, partition by partition.

Order does not count, as it is that of commits. Where a window tells its results more than once (`emit: update`), only
the last row of each key and `by` fields is a function of the inputs.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streamflow.errors import BrokerUnavailable, UserError
from streamflow.model.chunk import Record
from streamflow.plan.plan import Plan, TopicRole
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings

#: Rows that are shown of each side of a topic.
SHOWN_MAX = 10


@dataclass(slots=True)
class Difference:
    """Of one sink: rows of each run, how many only one of them has, and the first of these as (key, row)."""

    topics: tuple[str, str]
    rows: tuple[int, int] = (0, 0)
    only: tuple[int, int] = (0, 0)
    shown: tuple[list[tuple[str, str]], list[tuple[str, str]]] = field(default_factory=lambda: ([], []))

    @property
    def is_same(self) -> bool:
        """Whether both runs wrote the same rows."""
        return self.only == (0, 0)


@dataclass(frozen=True, slots=True)
class RowView:
    """What of a row counts. by: fields that name it with the key; its last one counts. ignore: fields that do not."""

    by: tuple[str, ...] = ()
    ignore: frozenset[str] = frozenset()

    def read(self, record: Record) -> tuple[bytes, bytes]:
        """(name of the row, row), digests of 16 bytes."""
        key, value = record.key or b"", record.value or b""
        name = key
        if self.by or self.ignore:
            row: dict[str, Any] = orjson.loads(value)
            name = orjson.dumps([key.decode(errors="replace"), *(row.get(each) for each in self.by)])
            kept = {field: each for field, each in row.items() if field not in self.ignore}
            value = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
        return _digest(name), _digest(name + b"\n" + value)


async def compare(plans: tuple[Plan, Plan], settings: Settings, view: RowView) -> list[Difference]:
    """Compare the sinks of two runs of one topology. Memory: some 200 bytes per row of a partition.

    Raises UserError for a run without topics, and for rows that are no JSON objects where fields are asked for;
    BrokerUnavailable.
    """
    topics = list(zip(*map(sinks_of, plans), strict=True))
    counts = await _partition_counts(settings, sorted({name for pair in topics for name in pair}))
    try:
        return [await _difference(settings, pair, max(counts[name] for name in pair), view) for pair in topics]
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise UserError(f"a row is no JSON object, so it has no fields to look at: {error}") from error


async def _difference(settings: Settings, topics: tuple[str, str], partitions: int, view: RowView) -> Difference:
    found = Difference(topics)
    for partition in range(partitions):
        sides = [await _rows(settings, topic, partition, view) for topic in topics]
        odd = sides[0] - sides[1], sides[1] - sides[0]
        found.rows = found.rows[0] + sides[0].total(), found.rows[1] + sides[1].total()
        found.only = found.only[0] + odd[0].total(), found.only[1] + odd[1].total()
        for topic, only, shown in zip(topics, odd, found.shown, strict=True):
            if only and len(shown) < SHOWN_MAX:
                shown += await _shown(settings, topic, partition, view, only, SHOWN_MAX - len(shown))
    return found


async def _partition_counts(settings: Settings, topics: list[str]) -> dict[str, int]:
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        known = set(await admin.list_topics())
        missing = [topic for topic in topics if topic not in known]
        if missing:
            raise UserError(f"there is no topic {', '.join(missing)}: has the run begun?")
        return {each["topic"]: len(each["partitions"]) for each in await admin.describe_topics(topics)}
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {settings.brokers} does not answer: {error!r}") from error
    finally:
        await disconnect(admin)


def sinks_of(plan: Plan) -> list[str]:
    """Topics that a run writes for others, in the order of the plan."""
    return [topic.name for topic in plan.topics if topic.role is TopicRole.SINK]


async def _records(settings: Settings, topic: str, partition: int) -> AsyncIterator[Record]:
    async with CommittedLog(settings, topic, partition) as log:
        async for record in log.records():
            yield record


async def _rows(settings: Settings, topic: str, partition: int, view: RowView) -> Counter[bytes]:
    if not view.by:
        return Counter([view.read(record)[1] async for record in _records(settings, topic, partition)])
    last: dict[bytes, bytes] = {}
    async for record in _records(settings, topic, partition):
        name, row = view.read(record)
        last[name] = row
    return Counter(last.values())


async def _shown(
    settings: Settings, topic: str, partition: int, view: RowView, odd: Counter[bytes], count: int
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    seen: Counter[bytes] = Counter()
    async for record in _records(settings, topic, partition):
        row = view.read(record)[1]
        if len(found) < count and seen[row] < odd[row]:
            seen[row] += 1
            texts = ((part or b"").decode(errors="replace") for part in (record.key, record.value))
            found.append((next(texts), next(texts)))
    return found


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
