"""A dead letter as it is looked at: what its record says, and what people have decided about it since.

    waiting ──► edited ──► redriven          a letter that fails again is a new letter, which names this one
       │           │
       └───────────┴─────► discarded         marked, never deleted; may still be redriven

Letters are numbered by their offset in the dead-letter topic, which has one partition. Decisions are records of the
decision topic (docs/decisions/0026-dead-letters.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from streamflow.model.chunk import Record

#: Headers that travel with a redriven event, so that its next letter knows them. TIME: when it was written first, ms.
LETTER, ATTEMPTS, TIME = "sf-letter", "sf-attempts", "sf-time"

_TIME_MAX_DIGITS = 15


class LetterState(StrEnum):
    """See the drawing above."""

    WAITING = "waiting"
    EDITED = "edited"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


#: Those that a redrive or discard takes when it is not told otherwise.
OPEN = frozenset({LetterState.WAITING, LetterState.EDITED})


class Decision(msgspec.Struct, frozen=True):
    """What was decided about a letter last; times in ms.

    letter_ms: the letter's own time, which tells it from one that had its number before the topic was made anew.
    value: the event as edited. execution: id under which it was redriven, after `attempts` failures.
    """

    state: LetterState
    at_ms: int
    letter_ms: int
    by: str = ""
    comment: str = ""
    value: bytes | None = None
    execution: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of the dead-letter topic with the last decision about it.

    parent: number and attempts of the letter that was redriven as the execution which this one names.
    """

    record: Record
    decision: Decision | None = None
    parent: tuple[int, int] | None = None

    @property
    def number(self) -> int:
        """Its offset."""
        return self.record.offset

    @property
    def state(self) -> LetterState:
        """Where it is."""
        return LetterState.WAITING if self.decision is None else self.decision.state

    def header(self, name: str) -> str:
        """Text of a header, empty when there is none."""
        return next((value.decode(errors="replace") for each, value in self.record.headers if each == name), "")

    @property
    def source(self) -> tuple[str, int, int] | None:
        """Topic, partition and offset of the record it is about; None for a result, which has no record."""
        topic, partition, offset = (self.header(f"sf-{name}") for name in ("topic", "partition", "offset"))
        return (topic, int(partition), int(offset)) if topic and partition and offset else None

    @property
    def earlier(self) -> int | None:
        """Number of the letter that it was redriven from, also when it failed in a later stage."""
        named = self.header(LETTER)
        return int(named) if named.isdigit() else self.parent and self.parent[0]

    @property
    def attempts(self) -> int:
        """How often the event has failed."""
        counted = int(self.header(ATTEMPTS) or 1)
        return counted if self.parent is None else max(counted, self.parent[1] + 1)

    @property
    def value(self) -> bytes | None:
        """The event as it goes out again: as edited, else as it came."""
        edited = None if self.decision is None else self.decision.value
        return self.record.value if edited is None else edited

    def view(self, *, whole: bool = False) -> dict[str, Any]:
        """For people and programs. whole: with the event, as it came and as edited, and its stack."""
        source, decision = self.source, self.decision
        found: dict[str, Any] = {
            "id": self.number,
            "state": self.state.value,
            "time": self.record.timestamp_ms,
            "node": self.header("sf-node"),
            "reason": self.header("sf-reason"),
            "class": self.header("sf-class"),
            "error": self.header("sf-error"),
            "key": _text(self.record.key),
            "source": source and {"topic": source[0], "partition": source[1], "offset": source[2]},
            "attempts": self.attempts,
            "earlier": self.earlier,
        }
        if decision is not None:
            found["decision"] = {"at": decision.at_ms, "by": decision.by, "comment": decision.comment}
            if decision.execution:
                found["decision"]["execution"] = decision.execution
        if whole:
            found |= {"value": _text(self.record.value), "stack": self.header("sf-stack").splitlines()}
            found["headers"] = {name: _text(value) for name, value in self.record.headers if name != "sf-stack"}
            if decision is not None and decision.value is not None:
                found["edited_value"] = _text(decision.value)
        return found


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters are meant: all that is given must fit. from_ms ≤ time of the letter < to_ms."""

    numbers: frozenset[int] = frozenset()
    node: str | None = None
    reason: str | None = None
    error_class: str | None = None
    key: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    states: frozenset[LetterState] = frozenset()

    def fits(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        return (
            (not self.numbers or letter.number in self.numbers)
            and (not self.states or letter.state in self.states)
            and (self.node is None or letter.header("sf-node") == self.node)
            and (self.reason is None or letter.header("sf-reason") == self.reason)
            and (self.error_class is None or letter.header("sf-class") == self.error_class)
            and (self.key is None or letter.record.key == self.key.encode())
            and (self.from_ms is None or letter.record.timestamp_ms >= self.from_ms)
            and (self.to_ms is None or letter.record.timestamp_ms < self.to_ms)
            and self._fits_source(letter)
        )

    def _fits_source(self, letter: Letter) -> bool:
        wanted = self.topic, self.partition, self.offset
        if wanted == (None, None, None):
            return True
        source = letter.source
        return source is not None and all(w is None or w == s for w, s in zip(wanted, source, strict=True))


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Letters with what to ask for next: numbers from `next` to before `end`; None when that was all."""

    letters: list[Letter]
    next: int | None
    end: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a page: letters as they are now, (number, reason) of those refused. next, end: as of a page."""

    letters: list[Letter]
    refused: list[tuple[int, str]]
    next: int | None
    end: int


def redriven_time(headers: Mapping[str, bytes], timestamp_ms: int) -> int:
    """When the record of an event was written first. Its own timestamp is new, or retention might delete it unread."""
    text = headers.get(TIME, b"")
    return int(text) if text.isdigit() and len(text) <= _TIME_MAX_DIGITS else timestamp_ms


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")
