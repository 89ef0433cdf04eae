"""Rows that wait for people, in one task: one row of the store per parked row, by id.

fused code ──► park                 decisions' entry ──► decide ──► votes … quorum ──► row goes on
border / tick ──► escalate, expire ──► row goes on

Everything that waits is in memory, at most `max_parked`, and its deadlines in two agendas. Votes, delegations and
escalations are changes of the row in the checkpoint; so is its leaving, with the row that leaves. A word that may not
be said any more (decided meanwhile, said before) changes nothing: decisions may come twice.
"""

import itertools
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from streamflow.bus.cancellations import Cancellations
from streamflow.bus.states import State
from streamflow.checkpoint.progress import END_OF_TIME
from streamflow.engine.fold_table import NEVER, Fire
from streamflow.engine.row_size import refuse_row
from streamflow.engine.walk import Left
from streamflow.errors import EventError
from streamflow.kit.agenda import Agenda
from streamflow.model.approval import Outcome, Parked, Vote, Word, problem_of
from streamflow.model.outcome import CORRELATION
from streamflow.nodes.operators import Park
from streamflow.state.store import Change, Store, TableChanges
from streamflow.windows.layout import ROW_MAX_BYTES

#: Room for what people say about a row.
_WORDS_BYTES = 1 << 20
#: Rows of one approval leave: (key, event time, rows, what left).
Give = Callable[[Any, int, list[Any], Left], None]
#: Something to say on the bus: (is it a request, data, whose word it is).
Say = Callable[[bool, dict[str, Any], str], None]


class ApprovalTable:
    """A FoldTable whose rows wait for people. row_type: of the rows that go on; the last field is their account.

    parks: told of what waits from now on.
    border_moved: told an event time at which something is due. watermark_now: the task's up to this event, below every
    time while tables are being closed (then `close` will come). released_at: the watermark for rows that go on.
    """

    def __init__(
        self,
        operator: Park,
        store: Store,
        row_type: Callable[..., Any],
        partition: int,
        *,
        give: Give,
        say: Say | None,
        parks: Callable[[str, Parked], None],
        border_moved: Callable[[int], None],
        watermark_now: Callable[[], int],
        released_at: Callable[[], int],
        now: Callable[[], int],
        cancelled: Cancellations,
    ) -> None:
        self.name = operator.table
        self._operator, self._store, self._row_type, self._partition = operator, store, row_type, partition
        self._give, self._say, self._parks, self._border_moved = give, say, parks, border_moved
        self._watermark_now, self._released_at, self._now = watermark_now, released_at, now
        self._cancelled, self._swept = cancelled, 0
        self._names = operator.row.names
        self._live: dict[str, Parked] = {}
        self._changed: dict[str, None] = {}
        self._agenda, self._clock_agenda = Agenda(), Agenda()
        self._is_open = False
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Parked).decode
        self._decode_row = msgspec.msgpack.Decoder(list[Any]).decode
        #: Whether something was parked whose time has passed: then `settle` is due.
        self.overdue = False

    def open_at(self, watermark_ms: int) -> None:
        """Read all that waits."""
        for stored, raw in self._store.scan(self.name):
            self._live[stored.decode()] = parked = self._decode(raw)
            self._register(stored.decode(), parked)
        self._is_open = True

    def _register(self, approval: str, parked: Parked) -> None:
        wanted = parked.deadline_ms if parked.escalate_ms is None or parked.escalated else parked.escalate_ms
        if wanted is None:
            return
        if not self._operator.by_event_time:
            self._clock_agenda.want(approval, wanted)
        elif self._agenda.want(approval, wanted) and self._is_open:
            self._border_moved(wanted)
            self.overdue = self.overdue or wanted <= self._watermark_now()

    # -- what happens to a row ----------------------------------------------------------------------------------------

    def park(self, row: Any, key: Any, time_ms: int) -> None:
        """Let a row wait. Raises EventError(`approvals_full`, `too_large`)."""
        operator, now_ms = self._operator, self._now()
        if len(self._live) >= operator.max_parked:
            message = f"{operator.max_parked} rows wait for a decision in this task: decide, or raise max_parked"
            raise EventError("approvals_full", message)
        from_ms = time_ms if operator.by_event_time else now_ms
        fields = self._encode([getattr(row, name) for name in self._names])
        if len(fields) > ROW_MAX_BYTES - _WORDS_BYTES:
            refuse_row(len(fields) + _WORDS_BYTES)
        deadline_ms = None if operator.deadline_ms is None else from_ms + operator.deadline_ms
        escalate_ms = None if operator.escalate_after_ms is None else from_ms + operator.escalate_after_ms
        approvers = list(operator.approvers)
        parked = Parked(key, time_ms, fields, now_ms, deadline_ms, escalate_ms, approvers, [], [])
        approval = self._new_id(now_ms, key, time_ms, fields)
        self._live[approval] = parked
        self._changed[approval] = None
        self._parks(approval, parked)
        self._register(approval, parked)
        if self._say is not None:
            deadline = "" if deadline_ms is None else str(deadline_ms)
            self._say(True, {"approval": approval, "deadline": deadline, "approvers": approvers}, "")

    def _new_id(self, now_ms: int, key: Any, time_ms: int, fields: bytes) -> str:
        """Of the row and the moment, so that the same events give the same ids; equal rows of a moment are counted."""
        for number in itertools.count():
            digest = blake2b(self._encode((number, key, time_ms, fields)), digest_size=8).hexdigest()
            approval = f"{self._partition}-{now_ms:011x}{digest}"
            if approval not in self._live and approval not in self._changed:
                break
        return approval

    def decide(self, decision: Any) -> None:
        """A record of the topic of decisions."""
        parked, actor = self._live.get(decision.id), decision.actor
        if parked is None:
            return
        voters = [vote.actor for vote in parked.votes]
        if problem_of(decision.decision, actor, decision.to, parked.approvers, voters) is not None:
            return
        self._changed[decision.id] = None
        if decision.decision == Word.DELEGATE:
            parked.approvers[parked.approvers.index(decision.actor)] = decision.to
            parked.delegations.append((decision.actor, decision.to))
            return
        parked.votes.append(Vote(decision.actor, decision.decision, decision.comment, decision.at))
        for word, count, outcome in (
            (Word.APPROVE, self._operator.quorum, Outcome.APPROVED),
            (Word.REJECT, self._rejections_needed(parked), Outcome.REJECTED),
        ):
            if sum(vote.decision == word for vote in parked.votes) >= count:
                self._leave(decision.id, parked, outcome, decision.at, self._released_at())
                return

    def _rejections_needed(self, parked: Parked) -> int:
        """So many that the quorum cannot come about any more; one, where anybody may decide."""
        return max(1, len(parked.approvers) - self._operator.quorum + 1) if parked.approvers else 1

    def _leave(self, approval: str, parked: Parked, outcome: Outcome, at_ms: int, watermark_ms: int) -> None:
        del self._live[approval]
        self._changed[approval] = None
        votes = [msgspec.structs.asdict(vote) for vote in parked.votes]
        account = {
            "id": approval,
            "outcome": outcome.value,
            "votes": votes,
            "delegations": parked.delegations,
            "escalated": parked.escalated,
            "parked_at_ms": parked.parked_at_ms,
            "left_at_ms": at_ms,
        }
        time_ms = parked.time_ms if self._operator.keeps_time else max(parked.time_ms, watermark_ms)
        if self._say is not None:
            comments = "; ".join(vote.comment for vote in parked.votes if vote.comment)
            said = {"approval": approval, "decision": outcome.value, "comment": comments[:2_000]}
            actor = "" if outcome is Outcome.EXPIRED else parked.votes[-1].actor
            self._say(False, {**said, "votes": votes, "delegations": parked.delegations}, actor)
        left = Left(approval, outcome.value, at_ms, tuple(parked.headers))
        self._give(parked.key, time_ms, [self._row_type(*self._decode_row(parked.row), account)], left)

    # -- time ---------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """What was parked too late for its own deadline."""
        self.close(self._watermark_now(), None)
        self.overdue = False

    def next_border(self, watermark_ms: int) -> int:
        """The first time at which something may be due."""
        return max(min(self._agenda.first_ms, NEVER), watermark_ms + 1)

    def close(self, watermark_ms: int, fire: Fire | None) -> None:
        """Escalate and expire by event time. At the end of a bounded run everything with a deadline has expired."""
        while (found := self._agenda.pop(watermark_ms)) is not None:
            at_ms = found[0] if watermark_ms < END_OF_TIME else watermark_ms
            self._due(found[1], at_ms, self._now(), found[0])

    def tick(self, now_ms: int, watermark_ms: int) -> bool:
        """Escalate and expire by the wall clock; whether anything was due."""
        was_due = self._sweep(now_ms)
        while (found := self._clock_agenda.pop(now_ms)) is not None:
            was_due = self._due(found[1], found[0], now_ms, watermark_ms) or was_due
        if self.overdue:
            self.settle()
        return was_due

    def _sweep(self, now_ms: int) -> bool:
        """Let rows of executions go that were cancelled since the last look; whether there were any."""
        cancelled = self._cancelled
        if self._swept == cancelled.version:
            return False
        self._swept = cancelled.version
        found = {
            approval: cancelled.reason_of(dict(each.headers).get(CORRELATION)) for approval, each in self._live.items()
        }
        for approval, reason in found.items():
            if reason is not None:
                parked = self._live.pop(approval)
                self._changed[approval] = None
                if self._say is not None:
                    self._say(False, {"approval": approval, "decision": State.CANCELLED.value, "comment": reason}, "")
                left = Left(approval, State.CANCELLED, now_ms, tuple(parked.headers))
                self._give(parked.key, parked.time_ms, [], left)
        return any(reason is not None for reason in found.values())

    def _due(self, approval: str, reached_ms: int, now_ms: int, watermark_ms: int) -> bool:
        parked = self._live.get(approval)
        if parked is None:
            return False
        if parked.escalate_ms is not None and not parked.escalated and parked.escalate_ms <= reached_ms:
            parked.escalated = True
            asked = {*parked.approvers, *(vote.actor for vote in parked.votes)}
            parked.approvers += [name for name in self._operator.escalate_to if name not in asked]
            self._changed[approval] = None
        if parked.deadline_ms is not None and parked.deadline_ms <= reached_ms:
            self._leave(approval, parked, Outcome.EXPIRED, now_ms, watermark_ms)
        else:
            self._register(approval, parked)
        return True

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """No row is late here."""
        return 0

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Rows leave when it is decided."""

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """What waits since the last checkpoint, and what waits no more."""
        if not self._changed:
            return None
        live = self._live
        changes: Sequence[Change] = [
            (approval.encode(), self._encode(live[approval]) if approval in live else None)
            for approval in self._changed
        ]
        self._changed.clear()
        return TableChanges(self.name, list(changes))

    def evict(self) -> None:
        """Everything stays in memory."""

    @property
    def live_count(self) -> int:
        """Rows that wait."""
        return len(self._live)
