"""Tries a node without engine, store or Kafka.

trial = Trial(Silence(minutes=10))
assert trial.process(Reading(0, "kitchen", 20.5), key="kitchen", time_ms=0) == []
assert trial.watermark(600_000) == [Silent("kitchen", 0)]
"""

from typing import Any

from streamflow.errors import EventError
from streamflow.kit.declaration import declaration_of_node
from streamflow.kit.keystate import TIME_MAX
from streamflow.kit.process import Process
from streamflow.kit.run import KeyedRun
from streamflow.kit.timers import Timer


class Trial:
    """Works rows and time for one node, as a task does. Times in ms.

    Every call gives the rows that come of it, those of timers that were set too late included. Raises EventError where
    a running topology would write a dead letter, NotDeclared when the hints of the class do not say enough.
    """

    def __init__(self, node: Process) -> None:
        declared = declaration_of_node(type(node))
        self._node = node
        self._watermark_ms = -TIME_MAX
        self._now_ms = 0
        self._rows: list[Any] = []
        self._run = KeyedRun(
            node,
            declared.output_type,
            load=lambda key: None,
            news=lambda time_ms: None,
            now=lambda: self._now_ms,
            watermark=lambda: self._watermark_ms,
        )
        node.open()

    def process(self, row: Any, *, key: str | int, time_ms: int) -> list[Any]:
        """Rows given for one row."""
        self._rows += self._run.process(row, key, time_ms)
        return self._settled()

    def watermark(self, time_ms: int) -> list[Any]:
        """Rows of the event-time timers up to a time; what has expired is gone. It never goes back."""
        self._watermark_ms = max(self._watermark_ms, time_ms)
        return self._settled()

    def wait(self, time_ms: int) -> list[Any]:
        """Rows of the clock timers of the next `time_ms`, which pass at once."""
        self._now_ms += time_ms
        self._run.fire_clock(self._now_ms, self._watermark_ms, self._give, self._fail)
        return self._settled()

    def states(self, key: str | int) -> dict[str, Any]:
        """What the node remembers of a key, by the names of its states."""
        state = self._run.live.get(key)
        declared = declaration_of_node(type(self._node)).states
        return {each.name: each.shown(state.cells[i] if state else None) for i, each in enumerate(declared)}

    def close(self) -> None:
        """Close the node."""
        self._node.close()

    def _settled(self) -> list[Any]:
        self._run.fire(self._watermark_ms, self._give, self._fail)
        rows, self._rows = self._rows, []
        return rows

    def _give(self, key: Any, time_ms: int, rows: list[Any]) -> None:
        self._rows += rows

    @staticmethod
    def _fail(key: Any, timer: Timer, error: EventError) -> None:
        raise error
