"""Where a task stands in time, from its clocks."""

from streamflow.checkpoint.progress import NO_TIME
from streamflow.engine.watermarks import EntryClock, Silence, TaskClock
from streamflow.plan.plan import EntryKind
from streamflow.query.standing import EntryStanding, ProducerStanding, TaskStanding


def standing_of(
    stage: str, partition: int, clock: TaskClock, watermark_ms: int, positions: dict[str, int], clamped: list[int]
) -> TaskStanding:
    """Standing of a task: positions by topic, clamped events per entry. The caller knows its worker and the ends."""
    entries = tuple(
        _entry(each, positions.get(each.entry.topic, 0), count)
        for each, count in zip(clock.entries, clamped, strict=True)
        if each.entry.kind is not EntryKind.DECISIONS
    )
    return TaskStanding(
        stage,
        partition,
        now_at_ms=clock.now_ms,
        watermark_ms=_known(watermark_ms),
        idle=clock.is_idle,
        settled=clock.silence.settled,
        settled_at_ms=_settled_at(clock.silence),
        idle_after_ms=clock.silence.idle_after_ms,
        entries=entries,
    )


def _entry(clock: EntryClock, position: int, clamped: int) -> EntryStanding:
    entry = clock.entry
    marks = ((number, mark) for number, mark in enumerate(clock.marks))
    return EntryStanding(
        node=entry.node,
        topic=entry.topic,
        watermark_ms=_known(clock.watermark_ms),
        idle=clock.idle,
        idle_after_ms=entry.idle_after_ms,
        settled=clock.silence.settled,
        settled_at_ms=_settled_at(clock.silence),
        position=position,
        high_ms=_known(clock.high_ms) if entry.kind is EntryKind.SOURCE else None,
        delay_ms=entry.watermark_delay_ms,
        processing_time=entry.processing_time,
        last_active_at_ms=clock.last_active_ms,
        last_offset=clock.last_offset,
        last_time_ms=clock.last_time_ms,
        clamped_count=clamped,
        producer_stage=entry.producer_stage,
        held_back_ms=entry.held_back_ms,
        producers=tuple(
            ProducerStanding(number, None if mark is None else _known(mark.watermark_ms), bool(mark and mark.idle))
            for number, mark in marks
        ),
    )


def _known(time_ms: int) -> int | None:
    return None if time_ms == NO_TIME else time_ms


def _settled_at(silence: Silence) -> int:
    return silence.since_ms + silence.idle_after_ms
