"""Operators of a join of two tables by foreign key: a row of the left table names a key of the right.

    operator    where                row                                       event time
    Subscribe   left table's task    per change one to the foreign key's task  same
    Answer      right table's task   both tables' rows, to the left key's      that of the newer of the two
    Settle      left key's task      the result that is new, or gone           same, not before the last result's

What travels between them has fields that no schema of a person can have: they begin with `_`.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from streamflow.model.expression import Expression
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.ports import Pick, layout_of_ports

FOREIGN, KEY, VERSION, CHANGE, HOLDS = "_foreign", "_key", "_version", "_change", "_holds"
_SIDES = "_left_", "_right_"


class Change(IntEnum):
    """What became of a row of the left table, as the task of a foreign key is told."""

    MOVED = 0  # it names another key now, whose task tells the result
    GONE = 1
    IS = 2


def message_schema(foreign: Expression, key: Expression, row: Schema) -> Schema:
    """What the task of a foreign key is told: fields of the row, which for MOVED and GONE are those from before."""
    own = (
        Field(FOREIGN, foreign.type, foreign.nullable),
        Field(KEY, key.type),
        Field(VERSION, FieldType.INT),
        Field(CHANGE, FieldType.INT),
    )
    return Schema(f"{row.name}Message", (*own, *row.fields))


def answer_schema(key: Expression, rows: tuple[Schema, Schema]) -> Schema:
    """What the task of a left key is told: fields of both rows, null where there is none."""
    own = Field(KEY, key.type), Field(VERSION, FieldType.INT), Field(HOLDS, FieldType.BOOL)
    named = [Field(side_field(port, each.name), each.type, True) for port in (0, 1) for each in rows[port].fields]
    return Schema(f"{rows[0].name}Answer", (*own, *named))


def side_field(port: int, name: str) -> str:
    """Name in an answer of a field of the left (0) or right (1) row."""
    return _SIDES[port] + name


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Tells the tasks of foreign keys what a row of the left table has become. `row` is that table's schema.

    Every change has a version, counted per task in `table`: of two changes of a key the later has the greater one. A
    row whose foreign key is null, or cannot be computed (then it is a dead letter too), is told to this task's
    partition.
    """

    row: Schema
    foreign: Expression
    table: str
    layout: str = "Subscribe1"


@dataclass(frozen=True, slots=True)
class Answer:
    """Keeps the left rows (port 0: messages of a Subscribe) of every foreign key in `table`, and answers.

    A change of either side gives an answer for every left row that it is about. Port 1 is the right table, an Upsert of
    the same stage. alone: whether a left row gives a result without a right one. max_rows: left rows of one foreign
    key; one beyond becomes a dead letter, and has no result.
    """

    ports: tuple[Schema, Schema]
    row: Schema
    alone: bool
    table: str
    max_rows: int
    picks: tuple[Pick, ...] = ()
    late_topic: None = None

    @property
    def kept(self) -> Schema:
        """What is kept of a left row."""
        return replace(self.row, fields=(Field(VERSION, FieldType.INT), *self.row.fields))

    @property
    def layout(self) -> str:
        """What gives the bytes of its table their meaning."""
        return f"Answer1 {self.ports[0].fields[0]} {layout_of_ports((self.row,))}"


@dataclass(frozen=True, slots=True)
class Settle:
    """Keeps the last result of every left key in `table`, and gives what changes it.

    Answers about an older version of the left row than one that is known are dropped: they come from the task of a
    foreign key that the row does not have any more. Results have a field `deleted` behind the picked ones: the result
    is gone, and had these values.
    """

    row: Schema
    picks: tuple[Pick, ...]
    table: str

    @property
    def kept(self) -> Schema:
        """What is kept of a result: its fields, null where there is none."""
        fields = (Field(each.name, each.type, True) for each in self.row.fields)
        return Schema(self.row.name, (Field(VERSION, FieldType.INT), *fields))

    @property
    def layout(self) -> str:
        """What gives the bytes of its table their meaning."""
        return f"Settle1 {layout_of_ports((self.row,))}"
