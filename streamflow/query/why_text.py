"""An explanation in short sentences, and as a picture of who holds whom."""

from datetime import UTC, datetime, timedelta

from streamflow.query.standing import Closing, LateRows, WindowFacts
from streamflow.query.why import Explanation, Holder, Holding, Status, Step

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPANS = ((172_800_000, 86_400_000, "d"), (7_200_000, 3_600_000, "h"), (120_000, 60_000, "min"), (1_000, 1_000, "s"))


def moment(time_ms: int) -> str:
    """`2026-01-31T05:12:03Z`, with milliseconds when there are any; plain ms where no calendar reaches."""
    try:
        made = _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return f"{time_ms} ms"
    return made.isoformat(timespec="milliseconds" if time_ms % 1_000 else "seconds").replace("+00:00", "Z")


def span(length_ms: int) -> str:
    """`850 ms`, `42.1 s`, `12 min`, `5.2 h`, `3 d`: for reading, not for computing."""
    for least, unit, name in _SPANS:
        if length_ms >= least:
            return f"{length_ms / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{length_ms} ms"


def sentences(explained: Explanation) -> list[str]:
    """The answer, most important first."""
    window = explained.window
    said = [f"{_named(window)} {_verdict(explained)}"]
    if explained.status in (Status.FIRED, Status.CLOSED):
        said.append(_forgotten(window) if window.closing is None else _closing(window.closing, explained.status))
    if explained.target_ms is not None:
        said.append(_rule(explained))
        said += _holders(explained)
        said += _when(explained)
    said += _late(window.late, explained)
    return said


def _named(window: WindowFacts) -> str:
    borders = f"from {moment(window.start_ms)} to {moment(window.end_ms)}"
    return f"The {window.kind} window of {window.key!r} in {window.table} {borders}"


def _verdict(explained: Explanation) -> str:
    window = explained.window
    match explained.status:
        case Status.OPEN:
            return "is open."
        case Status.AWAITED:
            return "has no event of this key so far, as far as is committed; it still takes some."
        case Status.FIRED:
            return "has given its result, and takes late events that correct it."
        case Status.CLOSED:
            return "is closed."
        case Status.NEVER:
            return "never existed: no event of this key was counted in it, and it takes none any more."
        case Status.EXPIRED:
            kept = f"the watermark has passed {moment(window.kept_until_ms)}"
            return f"is older than the table keeps windows ({kept}): whether it existed is not known."


def _rule(explained: Explanation) -> str:
    window, target = explained.window, explained.target_ms
    assert target is not None
    lateness = target - window.end_ms
    why = f"its end plus {span(lateness)} of allowed lateness" if lateness else "its end"
    verb = "closes" if explained.status is Status.FIRED or target == window.closes_at_ms else "gives its result"
    said = f"It {verb} when the watermark of task {window.stage}/{window.partition} reaches {moment(target)}, {why}."
    return f"{said} {_stands(explained.watermark_ms, target)}"


def _stands(watermark_ms: int | None, target_ms: int) -> str:
    if watermark_ms is None:
        return "There is no watermark yet."
    return f"It is at {moment(watermark_ms)}, {span(target_ms - watermark_ms)} before that."


def _holders(explained: Explanation) -> list[str]:
    said = []
    for number, holder in enumerate(explained.holders, 1):
        mark = f"{number}. " if len(explained.holders) > 1 else ""
        said.append(mark + _holder(holder, explained.now_at_ms))
    if explained.not_followed_count:
        said.append(f"{explained.not_followed_count} more producers hold it, which are further than these.")
    return said


def _holder(holder: Holder, now_at_ms: int) -> str:
    task = holder.path[-1]
    at = f" on {holder.worker}" if holder.worker else ""
    if holder.holding is Holding.UNKNOWN:
        return f"What task {task} waits for is not known: {holder.detail}."
    if holder.holding is Holding.ON_ITS_WAY:
        assert holder.watermark_ms is not None
        waits = f", where {holder.lag_count} records wait" if holder.lag_count else ""
        place = f"{holder.topic}/{holder.partition}"
        return (
            f"Task {task}{at} has come to {moment(holder.watermark_ms)}; its mark is on its way through {place}{waits}."
        )
    said = (
        f"It is held by {holder.topic}, partition {holder.partition} (source {holder.node}, producer task {task}{at}): "
    )
    return said + " ".join([_last_event(holder), *_silence(holder, now_at_ms), *_needs(holder)])


def _last_event(holder: Holder) -> str:
    if holder.high_ms is None:
        return "it has not had an event yet."
    furthest = f"its furthest event has time {moment(holder.high_ms)}"
    if holder.last_offset is None or holder.last_time_ms is None:
        return f"{furthest}; none has come since this worker took it over."
    last = f"its last event, offset {holder.last_offset}, has time {moment(holder.last_time_ms)}"
    return f"{last}." if holder.last_time_ms == holder.high_ms else f"{last}; {furthest}."


def _silence(holder: Holder, now_at_ms: int) -> list[str]:
    assert holder.last_active_at_ms is not None
    quiet_ms = max(0, now_at_ms - holder.last_active_at_ms)
    match holder.holding:
        case Holding.LAGS:
            return [f"{holder.lag_count} records wait to be read behind offset {holder.position}."]
        case Holding.IDLE:
            return [f"It is idle: nothing has come for {span(quiet_ms)} (idle_after is {span(holder.idle_after_ms)})."]
        case _:
            return [f"Nothing waits to be read; the last fetch was {span(quiet_ms)} ago."]


def _needs(holder: Holder) -> list[str]:
    if holder.processing_time:
        return ["Its time is the broker's, and follows the clock when nothing comes."]
    assert holder.needs_event_ms is not None
    said = [f"An event of {moment(holder.needs_event_ms)} or later there lets go."]
    if holder.left_out_at_ms is not None:
        said.append(f"Without any event it is left out as idle, at the earliest at {moment(holder.left_out_at_ms)}.")
    if holder.clamped_count:
        said.append(f"{holder.clamped_count} events had times too far away and got their record's.")
    return said


def _when(explained: Explanation) -> list[str]:
    verb = "closes" if explained.target_ms == explained.window.closes_at_ms else "gives its result"
    real = [each for each in explained.holders if each.holding is not Holding.ON_ITS_WAY]
    if not real:
        return [f"It {verb} in a moment, when what is on its way has been read."]
    if explained.closes_by_at_ms is not None:
        return [f"Without any event it {verb} at about {moment(explained.closes_by_at_ms)}."]
    if explained.any_one and len(real) > 1:
        return ["Everything is silent; one such event, in any of them, is enough."]
    if all(each.holding is Holding.UNKNOWN for each in real):
        return []
    return [
        "Idleness does not help: it needs events." if len(real) > 1 else "Idleness does not help: it needs the event."
    ]


def _closing(closing: Closing, status: Status) -> str:
    verb = "closed" if status is Status.CLOSED else "gave it"
    at = f"It {verb} at {moment(closing.at_ms)}, when the watermark came to {moment(closing.watermark_ms)}"
    if closing.cause == "mark":
        return f"{at} with a mark of producer {closing.producer} in {closing.topic} (node {closing.node})."
    if closing.cause == "event" and closing.event_time_ms is not None:
        offsets = f"{closing.topic}, offsets {closing.first_offset} to {closing.last_offset}"
        return f"{at} with an event of {moment(closing.event_time_ms)} (source {closing.node}, {offsets})."
    return f"{at} by the clock: what was silent was left out, or processing time went on."


def _forgotten(window: WindowFacts) -> str:
    return (
        f"When is not remembered: the task was opened here at {moment(window.opened_at_ms)}, or too much closed since."
    )


def _late(late: LateRows, explained: Explanation) -> list[str]:
    since = f"since the task was opened here at {moment(explained.window.opened_at_ms)}"
    if late.count:
        assert late.last_time_ms is not None
        count = f"{'At least ' if late.forgot else ''}{late.count} late event{'s' if late.count > 1 else ''}"
        was = "were" if late.count > 1 else "was"
        return [f"{count} of this key for it {was} not counted {since}, the last of time {moment(late.last_time_ms)}."]
    if explained.status in (Status.CLOSED, Status.NEVER):
        return [f"No late event of this key for it is known {since}."]
    return []


def picture(explained: Explanation) -> str:
    """The chain as a tree: tasks, and the partitions of sources below them; ✗ holds the window, ✓ has come that far."""
    if not explained.steps:
        return ""
    width = max(2 * step.depth + len(step.name) for step in explained.steps) + 4
    lines = []
    for number, step in enumerate(explained.steps):
        name = f"{_branch(explained.steps, number)}{step.name}"
        time = "no watermark" if step.watermark_ms is None else moment(step.watermark_ms)
        sign = "✗" if step.holds else "✓" if step.watermark_ms is not None and not step.note else "·"
        lines.append(f"{name:<{width}}{sign} {time}" + (f"  {step.note}" if step.note else ""))
    head = f"{explained.window.table}  needs {moment(explained.target_ms or 0)}"
    return "\n".join([head, *lines])


def _branch(steps: tuple[Step, ...], number: int) -> str:
    """Lines of the tree before a step."""
    depth, text = steps[number].depth, ""
    for level in range(1, depth + 1):
        later = (step.depth for step in steps[number + 1 :])
        more = next((each == level for each in later if each <= level), False)
        text += ("├─" if more else "└─") if level == depth else ("│ " if more else "  ")
    return text
