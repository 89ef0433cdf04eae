"""Workload A in plain Faust: a table on RocksDB keyed by sensor and window start (its own windows have no event-time
closing), the current value written out for every event.

python -m bench.faust_contender BOOTSTRAP INPUT OUTPUT FOLDER
"""

import sys
from typing import Any

import faust

bootstrap, source, sink, folder = sys.argv[1:5]
sys.argv = [sys.argv[0], "worker", "-l", "warn", "--without-web"]


class Reading(faust.Record, serializer="json"):  # type: ignore[misc,call-arg]
    """An event."""

    sensor: str
    ts: int
    value: float


app = faust.App(
    f"bench-faust-{sink}", broker=f"kafka://{bootstrap}", store="rocksdb://", datadir=folder, topic_partitions=4,
    table_cleanup_interval=1.0, topic_disable_leader=True, consumer_auto_offset_reset="earliest", web_enabled=False,
    broker_commit_interval=0.1,
)  # fmt: skip
readings = app.topic(source, value_type=Reading)
results = app.topic(sink)
windows = app.Table("windows", default=list, partitions=4)


@app.agent(readings)  # type: ignore[untyped-decorator]
async def fold(stream: Any) -> None:
    """Count, sum, min and max per sensor and window; the current value is written out for every event, because Faust's
    closing callback does not get the whole window."""
    async for event in stream:
        if event.value <= 10:
            continue
        value = event.value
        start = event.ts // 10_000 * 10_000
        key = f"{event.sensor}|{start}"
        cell = windows[key]
        n, total, low, high = cell if cell else (0, 0.0, value, value)
        cell = [n + 1, total + value, min(low, value), max(high, value)]
        windows[key] = cell
        row = {"sensor": event.sensor, "start": start, "n": cell[0], "total": cell[1], "low": cell[2], "high": cell[3]}
        await results.send(key=event.sensor, value=row)


app.main()
