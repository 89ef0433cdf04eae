"""The time of a port: how far the rows that come in there have come.

A row is late by the watermark of its own port, not by that of the task. The first is a function of the port's inputs
alone, so what is late, and with it the results of a join, do not depend on which input happened to be read first.

    rows come from entries, through nodes that keep their time      least watermark of these entries, at this very row
    a window or a join lies between                                 the task's, when it last closed, before its results
"""

from collections.abc import Callable, Sequence

from streamflow.engine.watermarks import EntryClock
from streamflow.nodes.join_operators import Upsert
from streamflow.nodes.operators import (
    Apply,
    Await,
    Count,
    Distinct,
    Filter,
    Lookup,
    Output,
    Pass,
    Project,
    Rekey,
    Rescued,
    Score,
    Switch,
    Unfold,
)
from streamflow.plan.plan import EntryKind, PlannedNode, Stage

#: What passes rows on when they come, with the time they have.
_KEEPS_TIME = (
    Pass
    | Filter
    | Project
    | Switch
    | Output
    | Rescued
    | Unfold
    | Rekey
    | Lookup
    | Count
    | Apply
    | Await
    | Distinct
    | Upsert
    | Score
)


def port_watermark(
    stage: Stage, node: PlannedNode, port: int, clocks: Sequence[EntryClock], of_task: Callable[[], int]
) -> Callable[[], int]:
    """A function that gives the watermark (ms) of a node's port."""
    numbers = _entries_before(stage, node.inputs[port])
    if numbers is None:
        return of_task
    before = [clocks[number] for number in sorted(numbers)]
    if len(before) == 1:
        only, delay_ms = before[0], before[0].entry.watermark_delay_ms
        if only.entry.kind is EntryKind.SOURCE:
            return lambda: only.high_ms - delay_ms
        return lambda: only.watermark_ms
    return lambda: min(clock.watermark_ms for clock in before)


def _entries_before(stage: Stage, name: str) -> set[int] | None:
    """Numbers of the entries that a node's rows come from; None when they do not keep their time on the way."""
    own = {number for number, entry in enumerate(stage.entries) if entry.node == name}
    if own:
        return own
    node = next(each for each in stage.nodes if each.name == name)
    if not isinstance(node.operator, _KEEPS_TIME):
        return None
    found: set[int] = set()
    for before in node.inputs:
        numbers = _entries_before(stage, before)
        if numbers is None:
            return None
        found |= numbers
    return found
