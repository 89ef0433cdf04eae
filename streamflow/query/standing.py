"""Where a task stands in time, as plain data: what one worker tells another when somebody asks why.

Times are milliseconds since the epoch; None stands for "none yet". Watermarks and event times are in event time, names
that end in `_at_ms` are moments of the wall clock.
"""

from dataclasses import dataclass

#: A task: (stage, partition).
TaskId = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ProducerStanding:
    """The last mark that a repartition entry heard from a producer (a task of the stage before)."""

    number: int
    watermark_ms: int | None
    idle: bool


@dataclass(frozen=True, slots=True)
class EntryStanding:
    """One input of a task.

    position: next offset to read; end: the end of the partition as far as it is known. last_offset, last_time_ms: the
    event read last, None since the task opened. last_active_at_ms: see engine/watermarks.py, as for idle and settled.
    producer_stage, producers, and how far their marks are behind their watermarks: of repartition topics; high_ms,
    delay_ms and the rest: of sources.
    """

    node: str
    topic: str
    watermark_ms: int | None
    idle: bool
    idle_after_ms: int
    settled: bool
    settled_at_ms: int
    position: int
    end: int | None = None
    high_ms: int | None = None
    delay_ms: int = 0
    processing_time: bool = False
    last_active_at_ms: int = 0
    last_offset: int | None = None
    last_time_ms: int | None = None
    clamped_count: int = 0
    producer_stage: str = ""
    held_back_ms: int = 0
    producers: tuple[ProducerStanding, ...] = ()

    @property
    def lag_count(self) -> int:
        """Records known to wait. The last offset may be a transaction's marker, which is never handed out."""
        waiting = 0 if self.end is None else self.end - self.position
        return waiting if waiting > 1 else 0


@dataclass(frozen=True, slots=True)
class TaskStanding:
    """A task as its worker sees it at `now_at_ms`; `missing` says why nobody could tell, and then nothing else does."""

    stage: str
    partition: int
    worker: str = ""
    now_at_ms: int = 0
    watermark_ms: int | None = None
    idle: bool = False
    settled: bool = False
    settled_at_ms: int = 0
    idle_after_ms: int = 0
    entries: tuple[EntryStanding, ...] = ()
    missing: str = ""

    @property
    def name(self) -> str:
        """`stage/partition`."""
        return f"{self.stage}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Closing:
    """The watermark of a task passed a border: at which moment, and what moved it.

    cause: `event` (of a source: its event time, and between which offsets it lies), `mark` (of a producer),
    `end` (of a source, in a bounded run) or `silence` (an idle input was left out, or processing time went on).
    """

    watermark_ms: int
    at_ms: int
    cause: str
    node: str = ""
    topic: str = ""
    producer: int | None = None
    event_time_ms: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None


@dataclass(frozen=True, slots=True)
class LateRows:
    """Rows of one key that came too late for one window, since the task opened.

    count: at least so many; `forgot` says that there may have been more. last_time_ms: of the last one.
    """

    count: int = 0
    last_time_ms: int | None = None
    forgot: bool = False


@dataclass(frozen=True, slots=True)
class WindowFacts:
    """A window of a key as its owner has it.

    kind: tumbling, sliding, calendar or session. exists: whether a row of it is in the table. fires_at_ms: watermark at
    which its result leaves; closes_at_ms: from which on no row is taken any more; kept_until_ms: watermark up to which
    the table keeps it. closing: what carried the watermark over the last of the two that it has passed; opened_at_ms:
    from when on its task remembers.
    """

    table: str
    node: str
    stage: str
    partition: int
    key: str
    kind: str
    start_ms: int
    end_ms: int
    exists: bool
    fires_at_ms: int
    closes_at_ms: int
    kept_until_ms: int
    closing: Closing | None = None
    late: LateRows = LateRows()
    opened_at_ms: int = 0
