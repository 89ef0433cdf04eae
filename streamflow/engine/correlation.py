"""Follows an event that somebody waits for through a task, at no cost for all others.

The fused code knows nothing of it. A row with a correlation id is worked on alone; whatever the output lists have more
afterwards is its doing, gets the id as a header, and is told in one part of its outcome (model/outcome.py). What
windows gave meanwhile is left out: a result of many events is nobody's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from streamflow.engine.outputs import Outputs
from streamflow.model.chunk import Chunk
from streamflow.model.outcome import CORRELATION, Added, encode_part

#: A generated function: (rows, their event times or None, the bounds of near event times).
Run = Callable[[list[Any], list[int] | None, int, int], None]
#: Whether work has stopped before the last row it was given.
Stopped = Callable[[], bool]


class Correlator:
    """Of one task."""

    def __init__(self, outputs: Outputs, onward_topics: frozenset[str], outcome_topic: str) -> None:
        self._outputs, self._onward, self._topic = outputs, onward_topics, outcome_topic
        self._lengths: dict[int, int] = {}
        self._added: list[Added] = []
        self._id: bytes | None = None
        self._used = False

    def alone(
        self, function: Run, chunk: Chunk, start: int, rows: list[Any], kept: list[int] | None, stopped: Stopped
    ) -> Run:
        """`function` over these rows of `chunk.values[start:]`, where each row with an id is worked on alone.

        stopped: whether `function` has stopped before its last row.
        """
        places = kept if kept is not None else range(len(rows))
        indices = {id(row): start + place for row, place in zip(rows, places, strict=True)}

        def split(rows: list[Any], times: list[int] | None, behind: int, ahead: int) -> None:
            done = 0
            for place, row in enumerate(rows):
                index = indices[id(row)]
                if index in chunk.correlations:
                    function(rows[done:place], times and times[done:place], behind, ahead)
                    done = place + 1
                    if not stopped():
                        with self.about(chunk, index, stopped):
                            function(rows[place:done], times and times[place:done], behind, ahead)
                    if stopped():
                        return
            function(rows[done:], times and times[done:], behind, ahead)

        return split

    @contextmanager
    def about(self, chunk: Chunk, index: int, stopped: Stopped = lambda: False) -> Iterator[None]:
        """What is added to the outputs meanwhile is due to `chunk.values[index]`; its part of the outcome follows.

        When work stopped before it, there is none: it will be worked on again.
        """
        self._id = correlation = chunk.correlations.get(index)
        if correlation is None:
            yield
            return
        self._added, self._used = [], True
        self._measure()
        yield  # an exception ends the task, and what is in the outputs with it
        if stopped():
            self._id = None
            return
        self._gather(correlation)
        part = encode_part(
            correlation, (chunk.topic, chunk.partition, chunk.offset_at(index)), self._added, self._onward
        )
        self._outputs.append(self._topic, (correlation, part, None))
        self._id = None

    def leave(self) -> bytes | None:
        """What is added from now on is due to no single row. Gives what `come_back` takes."""
        correlation, self._id = self._id, None
        if correlation is not None:
            self._gather(correlation)
        return correlation

    def come_back(self, correlation: bytes | None) -> None:
        """What is added from now on is the row's again."""
        self._id = correlation
        if correlation is not None:
            self._measure()

    def take_apart(self) -> frozenset[str]:
        """Topics that got records with an id since the last call, if any may have."""
        used, self._used = self._used, False
        return self._onward if used else frozenset()

    def _measure(self) -> None:
        self._lengths = {id(records): len(records) for _, records in self._outputs.all()}

    def _gather(self, correlation: bytes) -> None:
        stamp = ((CORRELATION, correlation),)
        for topic, records in self._outputs.all():
            for place in range(self._lengths.get(id(records), 0), len(records)):
                key, value, headers = records[place]
                records[place] = (key, value, (*(headers or ()), *stamp))
                self._added.append((topic, key, value, headers or ()))
