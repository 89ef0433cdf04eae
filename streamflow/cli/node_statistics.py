"""What each node does: rows in and out, the reduction between them, errors, and how long a row takes.

Nodes of a stage run as one function, so a row's time is that of the whole stage's work on it; which node takes how much
of it is told by `profile`. The time of a node that calls to the outside is that of an attempt.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # commands that ask a worker need no engine
    from streamflow.calls.guarded import GuardedCaller
    from streamflow.engine.counters import NodeCounts


def reduction(rows_in: float, rows_out: float) -> float | None:
    """Share of the rows that did not go on, 0 where there are more of them; None before the first row."""
    return None if rows_in <= 0 else round(max(0.0, 1 - rows_out / rows_in), 4)


class NodeStatistics:
    """Of one worker since its start. calls: of its async nodes by name."""

    def __init__(self, calls: "Mapping[str, GuardedCaller]") -> None:
        self._calls = calls
        self._worked: dict[str, tuple[int, float]] = {}
        self._committed_s: dict[str, float] = {}
        #: (stage, node) to rows that are told, when they were committed, and when it was asked last.
        self._last: dict[tuple[str, str], tuple[int, float | None, float]] = {}

    def worked(self, stage: str, count: int, took_s: float) -> None:
        """A task of a stage has worked on so many records."""
        records, seconds = self._worked.get(stage, (0, 0.0))
        self._worked[stage] = records + count, seconds + took_s

    def committed(self, stage: str, count: int) -> None:
        """A task of a stage has committed so many records."""
        if count:
            self._committed_s[stage] = time.time()

    def last_s(self, stage: str, node: str, rows_in: int) -> float | None:
        """Unix time of the last commit that had rows of a node, known by those that have come since it was asked last;
        None before the first."""
        known, last_s, asked_s = self._last.get((stage, node), (0, None, 0.0))
        committed_s = self._committed_s.get(stage, 0.0)
        if rows_in > known and committed_s > asked_s:  # else they are on their way: the next time tells
            known, last_s = rows_in, committed_s
        self._last[stage, node] = min(known, rows_in), last_s, time.time()
        return last_s

    def latency_s(self, stage: str, node: str) -> float | None:
        """Mean time of a row, seconds; None when nothing was measured."""
        guarded = self._calls.get(node)
        if guarded is not None:
            count, seconds = guarded.counts.attempts - guarded.under_way, guarded.counts.seconds
        else:
            count, seconds = self._worked.get(stage, (0, 0.0))
        return seconds / count if count else None

    def shown(self, stage: str, node: str, counts: "NodeCounts") -> dict[str, Any]:
        """As the API shows it; `latency_us` in µs."""
        latency_s = self.latency_s(stage, node)
        return {
            "in": counts.rows_in,
            "out": counts.rows_out,
            "late": counts.late,
            "dead": counts.dead,
            **({"dropped": counts.dropped} if counts.dropped else {}),
            "reduction": reduction(counts.rows_in, counts.rows_out),
            "latency_us": None if latency_s is None else round(latency_s * 1e6, 2),
        }
