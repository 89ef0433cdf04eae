"""Dead letters as people deal with them: read, edited, sent again, discarded. See docs/decisions/0026-dead-letters.md.

    initialise the producer (fences every other) → read all decisions → per some letters one transaction:
    events back to where they came from + "redriven" per letter

A letter is sent again only by who has read all decisions and whom nobody has fenced since, so it goes out once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import msgspec

from streamflow.bus.event import HEADERS, new_event
from streamflow.bus.event_types import EventType, checked
from streamflow.bus.masking import masked
from streamflow.bus.topics import data_path_bus
from streamflow.errors import UserError
from streamflow.model.letter import (
    OPEN,
    Decided,
    Decision,
    Letter,
    LetterFilter,
    LetterPage,
    LetterState,
)
from streamflow.model.outcome import CORRELATION, new_execution
from streamflow.model.parking import PARKED
from streamflow.model.partitioner import partition_of
from streamflow.model.redrive import event_again, own_headers, release
from streamflow.plan.plan import EntryKind, Plan
from streamflow.runtime import faults
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.fenced_producer import FencedProducer, Send, Sendable
from streamflow.runtime.record_limits import RecordLimits
from streamflow.settings.settings import Settings

#: Letters of one transaction.
TOGETHER_MAX = 100
#: A page: letters looked at, bytes of those that are meant. A redrive or discard ends after so many seconds.
_SCAN_MAX, _PAGE_MAX_BYTES, _REQUEST_S = 50_000, 16 << 20, 10.0
_EVENTS = {
    LetterState.EDITED: EventType.DEAD_LETTER_EDITED,
    LetterState.REDRIVEN: EventType.DEAD_LETTER_REDRIVEN,
    LetterState.DISCARDED: EventType.DEAD_LETTER_DISCARDED,
}
#: What a redriven record has more than the original.
_ADDED_BYTES = 256


@dataclass(slots=True)
class _Decisions:
    """The last decision per letter, and which letter an execution was redriven from."""

    by_number: dict[int, Decision] = field(default_factory=dict)
    by_execution: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, number: int, decision: Decision) -> None:
        self.by_number[number] = decision
        if decision.execution:
            self.by_execution[decision.execution] = number, decision.attempts

    def about(self, letter: Letter) -> Letter:
        """The letter with what is known of it. A decision about another time is of a topic that was made anew."""
        decision = self.by_number.get(letter.number)
        if decision is not None and decision.letter_ms != letter.record.timestamp_ms:
            decision = None
        return replace(letter, decision=decision, parent=self.by_execution.get(letter.header(CORRELATION)))


class KafkaLetters:
    """Of one topology. partition_counts: of its topics, filled before the first call; url: this worker's, for the audit
    log. Raises BrokerUnavailable.

    One decision at a time per process, others wait for it; a decision of another process fences it (Fenced).
    """

    def __init__(
        self, plan: Plan, settings: Settings, partition_counts: Mapping[str, int], limits: RecordLimits, url: str
    ) -> None:
        self._url, self._bus = url, data_path_bus(settings)
        self._plan, self._settings, self._counts, self._limits = plan, settings, partition_counts, limits
        self._id = f"sf.{settings.application}.{plan.identity}.dead_letters"
        self._deciding = asyncio.Lock()
        entries = [entry for stage in plan.stages for entry in stage.entries]
        self._kinds = {entry.topic: entry.kind for entry in entries}
        self._releases = {entry.releases: entry.topic for entry in entries if entry.releases}

    # -- reading ------------------------------------------------------------------------------------------------------

    async def page(self, wanted: LetterFilter, start: int, end: int | None, limit: int) -> LetterPage:
        """Letters that are meant, oldest first, from number `start` to before `end` (None: all that are there now)."""
        return await self._page(await self._decisions(), wanted, start, end, limit)

    async def letter(self, number: int) -> Letter | None:
        """One letter, None when there is none of that number."""
        return await self._letter(await self._decisions(), number)

    async def _letter(self, decisions: _Decisions, number: int) -> Letter | None:
        async with CommittedLog(self._settings, self._plan.dead_letter_topic) as log:
            async for record in log.records(number, number + 1):
                return decisions.about(Letter(record))
        return None

    async def _decisions(self) -> _Decisions:
        found = _Decisions()
        async with CommittedLog(self._settings, self._plan.letter_decision_topic) as log:
            async for record in log.records():
                found.add(int(record.key or b""), msgspec.json.decode(record.value or b"", type=Decision))
        return found

    async def _page(
        self, decisions: _Decisions, wanted: LetterFilter, start: int, end: int | None, limit: int
    ) -> LetterPage:
        found: list[Letter] = []
        async with CommittedLog(self._settings, self._plan.dead_letter_topic) as log:
            end = log.end if end is None else min(end, log.end)
            first, behind = max(start, min(wanted.numbers, default=0)), min(end, max(wanted.numbers, default=end) + 1)
            if wanted.from_ms is not None:
                first = max(first, await log.offset_at(wanted.from_ms))
            looked, size_bytes = 0, 0
            async for record in log.records(first, behind):
                letter = decisions.about(Letter(record))
                looked += 1
                if wanted.fits(letter):
                    found.append(letter)
                    size_bytes += len(record.value or b"")
                if len(found) == limit or looked == _SCAN_MAX or size_bytes >= _PAGE_MAX_BYTES:
                    return LetterPage(found, record.offset + 1, end)
        return LetterPage(found, None, end)

    # -- deciding -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _decide(self) -> AsyncIterator[tuple[FencedProducer, _Decisions]]:
        """The right to decide, and all that was decided before."""
        async with self._deciding:
            producer = FencedProducer(self._settings, self._id)
            try:
                await producer.start()
                faults.reach("decision_made")
                yield producer, await self._decisions()
            finally:
                await producer.stop()

    async def redrive(
        self, wanted: LetterFilter, start: int, end: int | None, limit: int, per_s: float, by: str
    ) -> Decided:
        """Send letters again, in order, at most `per_s` a second. Raises UserError, Fenced."""
        wanted = replace(wanted, states=_states(wanted, OPEN | {LetterState.DISCARDED}))
        together = max(1, min(TOGETHER_MAX, int(per_s / 10)))
        async with self._decide() as (producer, decisions):
            page = await self._page(decisions, wanted, start, end, limit)
            reasons = {letter.number: self._obstacle(letter) for letter in page.letters}
            refused = [(number, reason) for number, reason in reasons.items() if reason]
            letters = [_redriven(letter, by) for letter in page.letters if not reasons[letter.number]]
            return await self._commit(producer, replace(page, letters=letters), refused, together, per_s)

    async def discard(
        self, wanted: LetterFilter, start: int, end: int | None, limit: int, by: str, comment: str
    ) -> Decided:
        """Mark letters. Raises UserError, Fenced."""
        wanted = replace(wanted, states=_states(wanted, OPEN))
        async with self._decide() as (producer, decisions):
            page = await self._page(decisions, wanted, start, end, limit)
            letters = [_decided(letter, LetterState.DISCARDED, by, comment) for letter in page.letters]
            return await self._commit(producer, replace(page, letters=letters), [], TOGETHER_MAX, None)

    async def edit(self, number: int, value: bytes, by: str, comment: str) -> Letter | None:
        """Keep another event beside the original; None when there is no such letter. Raises UserError, Fenced."""
        async with self._decide() as (producer, decisions):
            letter = await self._letter(decisions, number)
            if letter is None:
                return None
            if letter.state not in OPEN:
                raise UserError(f"letter {number} is {letter.state.value}: only one that waits can be edited")
            edited = _decided(letter, LetterState.EDITED, by, comment, value)
            await producer.transact(lambda send: self._write(producer, send, [edited]))
            return edited

    def _obstacle(self, letter: Letter) -> str:
        """Why a letter cannot be sent again; empty when it can."""
        if letter.source is None:
            return "no_record"
        topic, partition, _ = letter.source
        if partition >= self._counts.get(topic, 0) or topic not in self._kinds:
            return "unknown_source"
        if self._kinds[topic] is EntryKind.REPARTITION and letter.header("sf-version") != str(self._plan.version):
            return "other_version"  # rows of our own topics mean something by their place
        kept = [*own_headers(letter), (PARKED, letter.header(PARKED).encode())]
        own = sum(len(name) + len(value or b"") for name, value in kept)
        size = len(letter.record.key or b"") + len(letter.value or b"") + own + _ADDED_BYTES
        if size > self._limits.bytes_for(topic):
            return "too_large"
        return ""

    async def _commit(
        self,
        producer: FencedProducer,
        page: LetterPage,
        refused: list[tuple[int, str]],
        together: int,
        per_s: float | None,
    ) -> Decided:
        """Decide on the letters of a page, some per transaction; what is beyond the time of a request is left."""
        began, letters = time.monotonic(), page.letters
        for done in range(0, len(letters), together):
            some = letters[done : done + together]
            if done and (producer.is_spent or time.monotonic() - began > _REQUEST_S):
                first = letters[done].number
                return Decided(letters[:done], [each for each in refused if each[0] < first], first, page.end)
            await producer.transact(lambda send, some=some: self._write(producer, send, some))  # type: ignore[misc]
            if per_s is not None:
                await asyncio.sleep(began + (done + len(some)) / per_s - time.monotonic())
        return Decided(letters, refused, page.next, page.end)

    async def _write(self, producer: FencedProducer, send: Send, letters: Sequence[Letter]) -> None:
        decisions: list[Sendable] = []
        now_ms = int(time.time() * 1_000)
        for letter in letters:
            assert letter.decision is not None
            if letter.decision.state is LetterState.REDRIVEN and letter.source is not None:
                # Alone in its batch: only of such records the headers are looked at.
                again = event_again(letter, letter.decision.execution, now_ms)
                await send(letter.source[0], letter.source[1], [again])
            elif letter.decision.state is LetterState.DISCARDED:
                await self._release(send, letter, now_ms)
            decisions.append((b"%d" % letter.number, msgspec.json.encode(letter.decision), (), now_ms))
        await send(self._plan.letter_decision_topic, 0, decisions)
        if self._bus is not None:
            key, value = self._event(letters)
            partition = partition_of(key, await producer.partition_count(self._bus.topic))
            await send(self._bus.topic, partition, [(key, value, HEADERS, now_ms)])

    async def _release(self, send: Send, letter: Letter, now_ms: int) -> None:
        """What waits behind a letter goes on without it, if its input still parks keys."""
        released = release(letter, now_ms)
        if released is None or letter.source is None:
            return
        node, value = released
        partition, topic = letter.source[1], self._releases.get(node)
        if topic is not None and partition < self._counts.get(topic, 0):
            await send(topic, partition, [(None, value, (), now_ms)])

    def _event(self, letters: Sequence[Letter]) -> tuple[bytes, bytes]:
        """What the bus is told, in the same transaction: who decided what about which letters. Key and value."""
        decision = letters[0].decision
        assert decision is not None
        kind, topology = _EVENTS[decision.state], self._plan.topology
        numbers = [str(letter.number) for letter in letters]
        schema, body = checked(kind, {"count": len(numbers), "letters": numbers, "reason": decision.comment})
        event = new_event(
            self._url, kind, topology, schema, masked(body), actor=decision.by, partitionkey=topology, position=""
        )
        return topology.encode(), event.encode()


def _states(wanted: LetterFilter, possible: frozenset[LetterState]) -> frozenset[LetterState]:
    """The states to take, those that are open unless others are asked for."""
    if wanted.states - possible:
        names = ", ".join(sorted(possible))
        raise UserError(f"state {', '.join(sorted(wanted.states - possible))} cannot be taken here: only {names} can")
    return wanted.states or OPEN


def _decided(letter: Letter, state: LetterState, by: str, comment: str, value: bytes | None = None) -> Letter:
    """The letter with a decision of now; an edited event stays beside it."""
    if value is None and letter.decision is not None:
        value = letter.decision.value
    at_ms = int(time.time() * 1_000)
    return replace(letter, decision=Decision(state, at_ms, letter.record.timestamp_ms, by, comment, value))


def _redriven(letter: Letter, by: str) -> Letter:
    decided = _decided(letter, LetterState.REDRIVEN, by, "")
    assert decided.decision is not None
    named = msgspec.structs.replace(decided.decision, execution=new_execution(), attempts=letter.attempts)
    return replace(decided, decision=named)
