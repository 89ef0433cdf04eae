"""Where the sources of a task end in a bounded run.

    source entry    position reaches its end ──► its watermark becomes END_OF_TIME ──► …
    task            all entries ended        ──► watermark END_OF_TIME closes every window ──► marks carry it on
    repartition     all producers' marks say END_OF_TIME ──► the entry has ended

"No more events" is a watermark like any other: it travels in-band, is committed with the results, and survives a crash
in the progress. A repartition topic therefore needs no end offset.
"""

from collections.abc import Mapping

from streamflow.checkpoint.progress import END_OF_TIME
from streamflow.engine.watermarks import EntryClock
from streamflow.model.chunk import Chunk
from streamflow.plan.plan import EntryKind

Place = tuple[str, int]


class Ending:
    """The ends of one task's source entries. `ends`: per (topic, partition) the first offset that is not read."""

    def __init__(self, ends: Mapping[Place, int]) -> None:
        self._ends = ends

    def room(self, chunk: Chunk) -> int:
        """How many of a chunk's values lie before the end."""
        end = self._ends.get((chunk.topic, chunk.partition))
        count = len(chunk.values)
        if end is None or chunk.next_offset <= end:
            return count
        while count and chunk.offset_at(count - 1) >= end:
            count -= 1
        return count

    def is_read(self, place: Place, position: int) -> bool:
        """Whether nothing of an input is left to read."""
        end = self._ends.get(place)
        return end is not None and position >= end

    def reached(self, clocks: list[EntryClock], partition: int, positions: Mapping[Place, int]) -> list[int]:
        """Numbers of the source entries that came to their end just now; their clocks are there too."""
        found = []
        for number, clock in enumerate(clocks):
            place = (clock.entry.topic, partition)
            if clock.entry.kind is not EntryKind.SOURCE or clock.watermark_ms >= END_OF_TIME:
                continue
            if place in positions and self.is_read(place, positions[place]):
                clock.end()
                found.append(number)
        return found
