"""Operators of nodes that take their inputs apart: an input is a *port*, numbered in the order of the node's inputs.

operator       row                            event time
Join           one per pair that matches      the later of the two; of a row alone, the last moment of a match
VersionLookup  the row with its table row     same
TablePair      both tables' rows, on change   that of the newer of the two
Combine        one per combination            the latest of its rows; of an incomplete one, the time-out of the earliest

and of the table that the second looks into, which has one input:

Upsert         same, if its key has no newer  same
"""

from dataclasses import dataclass

from streamflow.model.expression import Expression
from streamflow.model.schema import Schema
from streamflow.nodes.foreign_operators import Answer
from streamflow.nodes.ports import Pick, layout_of_ports


@dataclass(frozen=True, slots=True)
class Join:
    """Pairs of a left (port 0) and a right row (port 1) of one key whose times are near each other:

        left - before <= right <= left + after          in ms

    picks: the fields of a result, in order of the schema.
    alone: per port whether a row that finds no partner leaves alone, with nulls for the other, when none can come any
    more. allowed_lateness_ms: how far behind its input's watermark a row may be; later ones leave for `late_topic`.
    max_rows: bound of rows of one key, port and stretch of before + after; a row beyond it becomes a dead letter.
    """

    ports: tuple[Schema, Schema]
    picks: tuple[Pick, ...]
    before_ms: int
    after_ms: int
    alone: tuple[bool, bool]
    allowed_lateness_ms: int
    table: str
    late_topic: str | None = None
    max_rows: int = 10_000

    @property
    def reach_ms(self) -> tuple[int, int]:
        """Per port how long after its own time a row may find a partner."""
        return self.after_ms, self.before_ms

    @property
    def pane_ms(self) -> int:
        """Length of the stretches of time that its table is kept in: a row looks into two at most."""
        return max(100, self.before_ms + self.after_ms + 1)

    @property
    def keep_ms(self) -> int:
        """How long after its time a row may still be in the table."""
        return self.pane_ms + max(self.reach_ms) + self.allowed_lateness_ms

    @property
    def layout(self) -> str:
        """What gives the bytes of its table their meaning."""
        return f"{type(self).__name__}1/{self.pane_ms} {layout_of_ports(self.ports)}"


@dataclass(frozen=True, slots=True)
class Upsert:
    """Keeps the versions of every key in `table`, by event time; a row for which `delete` is true ends its key.

    retention_ms: how far behind the watermark versions are kept. versions: most of one key, the oldest go first.
    ttl_ms: how long after its newest row a key ends, 0: never.
    """

    row: Schema
    table: str
    retention_ms: int
    versions: int
    delete: Expression | None = None
    ttl_ms: int = 0

    @property
    def ends_keys(self) -> bool:
        """Whether keys may leave the table."""
        return self.delete is not None or self.ttl_ms > 0

    @property
    def layout(self) -> str:
        """What gives the bytes of its table their meaning."""
        return f"{type(self).__name__}1 {layout_of_ports((self.row,))}"


@dataclass(frozen=True, slots=True)
class VersionLookup:
    """Gives a row (port 0) the row of its key in a table (port 1, an Upsert of the same stage).

    as_of: the version at the row's event time, else the newest there is. waits: for the table's watermark to pass that
    time, in `table`, at most `max_rows` per task; a row beyond becomes a dead letter. optional: rows without a version
    pass with nulls. retention_ms: the table's; rows further behind their input's watermark leave for `late_topic`.
    """

    ports: tuple[Schema, Schema]
    picks: tuple[Pick, ...]
    as_of: bool
    waits: bool
    optional: bool
    retention_ms: int
    table: str
    late_topic: str | None = None
    max_rows: int = 1_000_000

    @property
    def layout(self) -> str:
        """What gives the bytes of its table their meaning."""
        return f"{type(self).__name__}1 {layout_of_ports(self.ports[:1])}"


@dataclass(frozen=True, slots=True)
class TablePair:
    """The current rows of one key in two tables (ports 0 and 1, Upserts of the same stage) whenever one changes.

    alone: per port whether its row gives a result without the other. Results have a field `deleted` behind the picked
    ones: the result is gone, and had these values.
    """

    ports: tuple[Schema, Schema]
    picks: tuple[Pick, ...]
    alone: tuple[bool, bool]
    late_topic: None = None


@dataclass(frozen=True, slots=True)
class Combine:
    """One row of every port, of one key and at most `timeout_ms` apart. names: what each port is called.

    What lacks a row when the watermark is `timeout_ms` beyond the earliest leaves for `incomplete_topic`, or, without
    one, like the others; then results have a field `missing` behind the picked ones: names of the ports.
    max_rows: bound of rows that wait in a task; a row beyond it becomes a dead letter.
    """

    ports: tuple[Schema, ...]
    picks: tuple[Pick, ...]
    names: tuple[str, ...]
    timeout_ms: int
    table: str
    incomplete_topic: str | None = None
    late_topic: str | None = None
    max_rows: int = 1_000_000

    @property
    def layout(self) -> str:
        """What gives the bytes of its table their meaning."""
        return f"{type(self).__name__}1 {layout_of_ports(self.ports)}"


#: Operators that take their inputs apart.
Apart = Join | VersionLookup | TablePair | Combine | Answer
