"""Where the time between an event and its delta goes: a worker with stamps at every step, and what to read out of them.

    python -m bench.live_steps STAMPS run TOPOLOGY --worker

The stamps are put around functions of the product from outside, so that a worker without them pays nothing. They are
moments of the monotonic clock, which all processes of a machine share, and are written as JSON when the worker ends.
"""

import asyncio
import functools
import json
import re
import statistics
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.workload import partition_of

_NUMBER = re.compile(rb'"number":(\d+)')
#: Names of the steps, in their order; each lasts from the end of the one before.
STEPS = (
    "client: sent to decoded by the worker",
    "appended and acknowledged",
    "fetched (read committed)",
    "handed to the task",
    "waited for the transaction before it",
    "begun, records handed over",
    "offsets in the transaction",
    "records written",
    "transaction ended",
    "waited for the pump",
    "published to the clients' outboxes",
    "waited for the client's turn, made",
    "written, read and decoded by the client",
)


class Stamps:
    """What a worker writes. Places are `[position behind, moment]` by partition, in order."""

    def __init__(self) -> None:
        #: number of the first event of a group: (partition, offset behind it, moment decoded, moment acknowledged)
        self.published: list[tuple[int, int, int, float, float]] = []
        self.places: dict[str, dict[int, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
        self.moments: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.lags: list[float] = []

    def place(self, step: str, partition: int, position: int) -> None:
        """A step is done up to a position."""
        self.places[step][partition].append((position, time.perf_counter()))

    def moment(self, step: str, of: int) -> None:
        """A step is done for whatever came to it before."""
        self.moments[step][of].append(time.perf_counter())

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(vars(self)))


def _around(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    setattr(owner, name, functools.wraps(getattr(owner, name))(wrap(getattr(owner, name))))


def _stamp_the_way_in(stamps: Stamps) -> None:
    from streamflow.runtime.hooks.faust_app import ChunkConsumerThread
    from streamflow.runtime.hosted_task import HostedTask
    from streamflow.runtime.publisher import Publisher

    def publish(real: Any) -> Any:
        async def stamped(self: Any, topic: str, records: Any, *more: Any, **named: Any) -> Any:
            decoded = time.perf_counter()
            ends = await real(self, topic, records, *more, **named)
            acked = time.perf_counter()
            for key, value in records:
                partition = partition_of(key)
                found = _NUMBER.search(value)
                if found:
                    stamps.published.append((int(found[1]), partition, ends[partition], decoded, acked))
            return ends

        return stamped

    def take(real: Any) -> Any:
        def stamped(*arguments: Any) -> Any:
            chunks = real(*arguments)
            for tp, chunk in chunks.items():
                stamps.place("fetched", tp.partition, chunk.next_offset)
            return chunks

        return staticmethod(stamped)

    def work(real: Any) -> Any:
        async def stamped(self: Any, chunk: Any) -> None:
            stamps.place("handed", chunk.partition, chunk.next_offset)
            await real(self, chunk)

        return stamped

    _around(Publisher, "publish", publish)
    ChunkConsumerThread._take = take(ChunkConsumerThread._take)  # type: ignore[method-assign]
    _around(HostedTask, "work", work)


def _stamp_the_commit(stamps: Stamps) -> None:
    from streamflow.runtime import transaction
    from streamflow.runtime.transaction import TaskProducer

    def commit(real: Any) -> Any:
        async def stamped(self: Any, checkpoint: Any, changelogs: Any) -> Any:
            ((_, partition), position) = next(iter(checkpoint.positions.items()))
            stamps.place("begun", partition, position)
            self._stamped = partition, position
            offsets = await real(self, checkpoint, changelogs)
            stamps.place("ended", partition, position)
            return offsets

        return stamped

    def offsets(real: Any) -> Any:
        def stamped(checkpoint: Any) -> Any:
            ((_, partition), position) = next(iter(checkpoint.positions.items()))
            stamps.place("sent", partition, position)
            return real(checkpoint)

        return staticmethod(stamped)

    async def settle(sends: Any) -> Any:
        partitions = [place[1] for table, _, _, place in sends if table]
        for partition in partitions:
            stamps.moment("offsets", partition)
        found = await _settle(sends)
        for partition in partitions:
            stamps.moment("written", partition)
        return found

    _settle = transaction._settle
    transaction._settle = settle
    _around(TaskProducer, "commit", commit)
    TaskProducer._offsets = offsets(TaskProducer._offsets)  # type: ignore[method-assign]


def _stamp_the_way_out(stamps: Stamps) -> None:
    from streamflow.web.live.feed import Feed
    from streamflow.web.live.sources import OwnTask
    from streamflow.web.live.subscription import Subscription

    def flush(real: Any) -> Any:
        async def stamped(self: Any, *arguments: Any) -> None:
            if self._is_new:
                stamps.moment("pumped", self.feed.partition)
            await real(self, *arguments)

        return stamped

    def publish(real: Any) -> Any:
        def stamped(self: Any, *arguments: Any) -> None:
            real(self, *arguments)
            stamps.moment("published", self.partition)

        return stamped

    def delta(real: Any) -> Any:
        def stamped(self: Any) -> Any:
            message = real(self)
            if message is not None and self.wish.chosen.takes_all:
                stamps.moment("made", id(self))
            return message

        return stamped

    _around(OwnTask, "flush", flush)
    _around(Feed, "publish", publish)
    _around(Subscription, "_delta", delta)


async def _watch_the_loop(stamps: Stamps) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.01)
        stamps.lags.append(time.perf_counter() - before - 0.01)


def _stamp_the_loop(stamps: Stamps) -> None:
    from streamflow.runtime.worker import Worker

    def run(real: Any) -> Any:
        async def stamped(self: Any) -> None:
            watching = asyncio.create_task(_watch_the_loop(stamps))
            await real(self)
            watching.cancel()

        return stamped

    _around(Worker, "run", run)


def main() -> None:
    """Run a worker with stamps."""
    path = Path(sys.argv[1])
    from streamflow.cli.main import app

    stamps = Stamps()
    for put in (_stamp_the_way_in, _stamp_the_commit, _stamp_the_way_out, _stamp_the_loop):
        put(stamps)
    try:
        app(sys.argv[2:])
    finally:
        stamps.write(path)


# -- reading ----------------------------------------------------------------------------------------------------------


def steps_of(
    path: Path, sent: list[float], shown: dict[int, float], first: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds per step, of events from number `first` on that a client was shown; and how late the loop was."""
    found = json.loads(path.read_text())
    places = {step: {int(p): rows for p, rows in by.items()} for step, by in found["places"].items()}
    moments = {step: {int(of): rows for of, rows in by.items()} for step, by in found["moments"].items()}
    took: dict[str, list[float]] = {step: [] for step in STEPS}
    for number, partition, end, decoded, acked in found["published"]:
        if number < first or number not in shown:
            continue
        at = [sent[number], decoded, acked]
        for step in ("fetched", "handed", "begun", "sent"):
            at.append(_reached(places[step][partition], end))
        at.append(_after(moments["offsets"][partition], at[-1]))
        at.append(_after(moments["written"][partition], at[-1]))
        at.append(_reached(places["ended"][partition], end))
        at.append(_after(moments["pumped"][partition], at[-1]))
        at.append(_after(moments["published"][partition], at[-1]))
        made = [_before(rows, shown[number]) for rows in moments["made"].values()]
        at.append(max([each for each in made if each >= at[-1]], default=at[-1]))
        at.append(shown[number])
        for step, start, stop in zip(STEPS, at, at[1:], strict=False):
            took[step].append(stop - start)
    return took, found["lags"]


def _reached(rows: list[list[float]], position: float) -> float:
    index = bisect_left(rows, position, key=lambda row: row[0])
    return rows[min(index, len(rows) - 1)][1]


def _after(rows: list[float], moment: float) -> float:
    return rows[min(bisect_left(rows, moment), len(rows) - 1)]


def _before(rows: list[float], moment: float) -> float:
    return rows[max(bisect_left(rows, moment) - 1, 0)]


def lines(took: dict[str, list[float]], lags: list[float]) -> list[str]:
    """A table of them."""
    rows = ["| step | p50 ms | p99 ms |", "| --- | --- | --- |"]
    for step, seconds in [*took.items(), ("(a turn of the loop is late by)", lags)]:
        cuts = statistics.quantiles(seconds, n=100)
        rows.append(f"| {step} | {cuts[49] * 1e3:.1f} | {cuts[98] * 1e3:.1f} |")
    return rows


def counts(path: Path) -> str:
    """How often each step was taken in a second."""
    found = json.loads(path.read_text())
    said = []
    for step, by in [*found["places"].items(), *found["moments"].items()]:
        moments = sorted(row if isinstance(row, float) else row[1] for rows in by.values() for row in rows)
        said.append(f"{step} {len(moments) / (moments[-1] - moments[0]):.0f}")
    return "Times per second: " + ", ".join(said) + "."


if __name__ == "__main__":
    main()
