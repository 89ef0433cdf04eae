"""The clocks of a task's entries as they stood at its last checkpoint."""

from collections.abc import Mapping

from streamflow.checkpoint.progress import Progress
from streamflow.engine.program import Program
from streamflow.engine.watermarks import EntryClock
from streamflow.plan.plan import Entry, EntryKind


def resumed_clocks(
    program: Program, progress: Progress, partition_counts: Mapping[str, int], now_ms: int
) -> list[EntryClock]:
    """One per entry, in their order."""
    return [
        EntryClock.resume(
            entry,
            progress.entries[number] if number < len(progress.entries) else None,
            _producer_count(program, entry, partition_counts),
            now_ms,
        )
        for number, entry in enumerate(program.stage.entries)
    ]


def _producer_count(program: Program, entry: Entry, partition_counts: Mapping[str, int]) -> int:
    """A repartition topic is written by every task of one stage; that stage has one task per input partition."""
    if entry.kind is not EntryKind.REPARTITION:
        return 0
    return partition_counts[program.plan.stage(entry.producer_stage).entries[0].topic]
