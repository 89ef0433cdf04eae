"""What an aggregate is: cells of the accumulator, and source text that the engine inlines.

An aggregate keeps its state in a few *cells* of the window's accumulator (a flat struct), so that adding an event is a
handful of attribute operations in the fused loop and not a call. Templates name

    {a} {b}     the accumulator, and the one merged into it
    {0} {1}     the aggregate's cells
    {v} {t}     the event's value (never null: nulls are skipped) and its event time in ms

State that does not fit into numbers is an object in one cell: a class with `state()`, which gives plain data for
msgpack, `of(data)`, which takes it back, and `weight_bytes()`, what it takes in memory. Merging leaves the second
accumulator as it is and shares nothing with it that can change. Accumulators are merged in the order of arrival: of two
events of one time, the one that arrived first is in the first of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from streamflow.model.schema import FieldType


@dataclass(frozen=True, slots=True)
class Cell:
    """One attribute of an accumulator: its type for msgspec, and its initial value or a function that makes it."""

    type: Any
    initial: Any = None
    make: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate over arguments of one type, with its parameters.

    state: family, version and whatever else gives the bytes of the cells their meaning; raise the version when cells or
    their meaning change. Aggregates of one state over one argument share their cells.
    lift: expression that is applied to a value before its window is looked up; it may raise EventError.
    add, merge: statements; value: expression of the result. names: what they use besides cells.
    overflows: whether the result may be beyond 64 bits though no value is; then it is checked before it leaves.
    null: when the result is null: "never", "empty" (no value was added) or "few" (not enough values for one).
    """

    name: str
    state: str
    cells: tuple[Cell, ...]
    add: tuple[str, ...]
    merge: tuple[str, ...]
    value: str
    result_type: FieldType
    null: Literal["never", "empty", "few"] = "never"
    lift: str = ""
    names: Mapping[str, Any] = field(default_factory=dict)
    overflows: bool = False

    def may_be_null(self, argument_nullable: bool) -> bool:
        """Whether a result may be null. A window has an event at least: a value that is never null is one."""
        return self.null == "few" or (self.null == "empty" and argument_nullable)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number behind the argument, written as a literal, with its bounds."""

    name: str
    minimum: int
    maximum: int
    whole: bool = True

    def accepts(self, value: float) -> bool:
        """Whether it may have this value."""
        return self.minimum <= value <= self.maximum and not (self.whole and value.__class__ is not int)

    def __str__(self) -> str:
        return f"{'a whole number' if self.whole else 'a number'} from {self.minimum} to {self.maximum}"


@dataclass(frozen=True, slots=True)
class AggregateKind:
    """What a topology calls by name.

    make: gives the aggregate for an argument's type (None without argument) and the values of the parameters.
    """

    name: str
    description: str
    argument: Literal["optional", "required"]
    argument_types: frozenset[FieldType]
    make: Callable[[FieldType | None, tuple[float, ...]], Aggregate]
    parameters: tuple[Parameter, ...] = ()

    @property
    def signature(self) -> str:
        """How it is written, such as `percentile(x, p)`."""
        argument = "[x]" if self.argument == "optional" else "x"
        return f"{self.name}({', '.join([argument, *(each.name for each in self.parameters)])})"


NUMBERS = frozenset({FieldType.INT, FieldType.FLOAT})
ORDERED = NUMBERS | {FieldType.TIMESTAMP}
ANY = frozenset(FieldType)
