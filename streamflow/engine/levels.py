"""The order in which a task with levels works on its chunks: by share, so that none waits for ever.

    orders.urgent (8)  ▪▪▪▪ ▪▪▪▪ ─┐
    orders        (1)  ▪▪▪▪ ▪▪▪▪ ─┴► the level that has had least by its share, in pieces of at most PIECE records

Start-time fair queueing (Goyal, Vin, Cheng 1996) over the levels that wait: a level that comes back begins where the
others are, so it has no claim for the time in which nothing of it came. At equal claims the larger share goes first:
the first event of a level is worked on behind the piece at hand.
"""

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from streamflow.model.chunk import Chunk
from streamflow.plan.plan import Stage

#: Records of a level that are worked on before the next look at the others.
PIECE = 500
#: Chunks of a topic that may wait; beyond, it is not fetched.
CHUNKS_MAX = 2


@dataclass(slots=True, eq=False)
class _Queue:
    share: int
    entry: int
    #: Chunks, and the first value of each that is not done.
    chunks: deque[tuple[Chunk, int]] = field(default_factory=deque)
    #: Records worked on, by share.
    had: float = 0.0
    next_offset: int = 0


class Levels:
    """What waits in the inputs of one task whose order is by share: those of its nodes that have levels.

    next_offset: of a topic the offset that its first chunk begins with.
    """

    def __init__(self, stage: Stage, next_offset: Callable[[str], int]) -> None:
        self._queues = {
            entry.topic: _Queue(entry.share, stage.entries.index(entry), next_offset=next_offset(entry.topic))
            for entry in stage.leveled
        }

    def __contains__(self, topic: str) -> bool:
        return topic in self._queues

    def offer(self, chunk: Chunk) -> None:
        """Let a chunk wait, unless it has been offered."""
        queue = self._queues[chunk.topic]
        if chunk.next_offset <= queue.next_offset:
            return
        if not queue.chunks:
            others = [each.had for each in self._queues.values() if each.chunks]
            # Where nothing waits all begin anew, at one place: who has worked alone owes nothing for it.
            anew = max(each.had for each in self._queues.values())
            queue.had = max(queue.had, min(others, default=anew))
        first = 0
        while first < len(chunk.values) and chunk.offset_at(first) < queue.next_offset:
            first += 1
        queue.chunks.append((chunk, first))
        queue.next_offset = chunk.next_offset

    def first(self) -> tuple[int, Chunk, int] | None:
        """(entry, chunk, place of its first value that is not done) of what is next; None when nothing waits."""
        waiting = [queue for queue in self._queues.values() if queue.chunks]
        if not waiting:
            return None
        queue = min(waiting, key=lambda each: (each.had, -each.share))
        return queue.entry, *queue.chunks[0]

    def done(self, chunk: Chunk, stop: int, *, whole: bool) -> None:
        """A chunk that is next has been worked on up to a value; `whole`: it need not come again."""
        queue = self._queues[chunk.topic]
        _, start = queue.chunks.popleft()
        queue.had += max(1, stop - start) / queue.share
        if not whole:
            queue.chunks.appendleft((chunk, stop))

    def forget(self, topics: Collection[str], next_offset: Callable[[str], int]) -> None:
        """What waits of these topics is offered again, from an offset on."""
        for topic in filter(self._queues.__contains__, topics):
            self._queues[topic].chunks.clear()
            self._queues[topic].next_offset = next_offset(topic)

    def is_full(self, topic: str) -> bool:
        """Whether so much of a topic waits that it should not be fetched."""
        return len(self._queues[topic].chunks) >= CHUNKS_MAX

    def holds(self, topic: str) -> bool:
        """Whether anything of a topic waits here."""
        return topic in self._queues and bool(self._queues[topic].chunks)

    def next_offset(self, topic: str) -> int:
        """What the next chunk of a topic begins with."""
        return self._queues[topic].next_offset
