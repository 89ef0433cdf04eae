"""What people say about a parked row: the records of the topic of decisions, and the row's own account of it."""

import re
from collections.abc import Collection
from enum import StrEnum

import msgspec

from streamflow.model.schema import Field, FieldType, Schema

#: Bounds, in characters.
ACTOR_MAX_CHARS, COMMENT_MAX_CHARS = 200, 2_000

#: Number of the partition, then when it was parked (ms) and a digest; ids of a partition sort by when it was parked.
_ID = re.compile(r"([0-9]{1,7})-[0-9a-f]{11}[0-9a-f]{16}")


class Word(StrEnum):
    """What one person may say."""

    APPROVE = "approve"
    REJECT = "reject"
    DELEGATE = "delegate"


class Outcome(StrEnum):
    """What becomes of a parked row."""

    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


#: A record of the topic of decisions.
DECISION = Schema(
    "Decision",
    (
        Field("at", FieldType.TIMESTAMP),
        Field("id", FieldType.STR),
        Field("decision", FieldType.STR),
        Field("actor", FieldType.STR),
        Field("comment", FieldType.STR, nullable=True),
        Field("to", FieldType.STR, nullable=True),
    ),
)


class Vote(msgspec.Struct, array_like=True, frozen=True):
    """One person's word: approve or reject, at a moment of the wall clock (ms)."""

    actor: str
    decision: str
    comment: str | None
    at_ms: int


class Parked(msgspec.Struct, array_like=True):
    """A row that waits. row: its fields as msgpack, in order; times in ms.

    key, time_ms: of the row. parked_at_ms: wall clock. deadline_ms, escalate_ms: on the node's clock, None for never.
    approvers: who may decide, nobody named is anybody; delegations: (from, to). headers: what follows the row, such as
    the id of its execution.
    """

    key: str | int
    time_ms: int
    row: bytes
    parked_at_ms: int
    deadline_ms: int | None
    escalate_ms: int | None
    approvers: list[str]
    votes: list[Vote] = []
    delegations: list[tuple[str, str]] = []
    escalated: bool = False
    headers: list[tuple[str, bytes]] = []


def problem_of(
    word: str, actor: str, to: str | None, approvers: Collection[str], voters: Collection[str]
) -> str | None:
    """Why somebody may not say this, given who may decide and who has voted; None when they may."""
    if word not in set(Word):
        return f"{word!r} is no decision: {', '.join(Word)}"
    if approvers and actor not in approvers:
        return f"{actor or 'nobody'} may not decide this: it is with {', '.join(approvers)}"
    if actor in voters:
        return f"{actor} has decided already"
    if word == Word.DELEGATE and not approvers:
        return "anybody may decide this, so nobody has to be asked instead"
    if word == Word.DELEGATE and (not to or to in approvers):
        return "delegate to somebody who is not asked yet"
    return None


def partition_of_id(approval: str) -> int | None:
    """The partition that an id says, None when it is no id."""
    found = _ID.fullmatch(approval)
    return None if found is None else int(found[1])
