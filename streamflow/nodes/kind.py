"""What a node kind is: metadata, a configuration model, and how it lowers itself to a core operator.

A kind is one file of this package. It says everything once: the configuration model carries the descriptions and bounds
that become reference pages and JSON schema, `lower` checks the configuration against the schema of the input and gives
the operator. Problems are collected, never raised, so that a person sees all of them at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from streamflow.errors import ExpressionError, Problem
from streamflow.model.durations import parse_duration_ms
from streamflow.model.expression import Expression, compile_expression
from streamflow.model.names import field_problem, near_name, node_problem, topic_problem
from streamflow.model.schema import FieldType, Schema
from streamflow.nodes.dependent import Dependent
from streamflow.nodes.operators import Operator
from streamflow.windows.shape import WindowShape

DAY_MS = 86_400_000


def _allowed(problem_of: Callable[[str], str | None]) -> AfterValidator:
    def check(name: str) -> str:
        problem = problem_of(name)
        if problem is not None:
            raise ValueError(problem)
        return name

    return AfterValidator(check)


def _duration_ms(value: str | int) -> int:
    """At most 100 years, so that sums of durations and event times stay far inside 64 bits."""
    duration_ms = parse_duration_ms(value)
    if duration_ms > 100 * 366 * DAY_MS:
        raise ValueError(f"{value!r} is longer than 100 years; use a shorter duration")
    return duration_ms


#: Names in a configuration; one that is not allowed is a problem of the configuration alone.
FieldName = Annotated[str, _allowed(field_problem)]
TableName = Annotated[str, _allowed(node_problem)]
TopicName = Annotated[str, _allowed(topic_problem)]
#: A duration in a configuration: `2h`, `500ms`, or an integer of milliseconds; an int of milliseconds afterwards.
DurationMs = Annotated[
    int,
    BeforeValidator(_duration_ms),
    WithJsonSchema({"type": ["string", "integer"], "format": "duration", "examples": ["500ms", "10s", "2h", "1d"]}),
]


def _date(value: Any) -> Any:
    """A day as ISO 8601 says it, `2026-03-01`; anything else is left to be refused."""
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no day; write year-month-day, as 2026-03-01") from error


#: A day in a configuration, a `date` afterwards.
Date = Annotated[
    date,
    BeforeValidator(_date),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-03-01"]}),
]


class Category(StrEnum):
    """What a node is for."""

    DATA_PROCESSING = "data_processing"
    AI_ML = "ai_ml"
    INTEGRATION = "integration"
    UTILITY = "utility"
    SECURITY = "security"
    MONITORING = "monitoring"


class Mode(StrEnum):
    """How a node's code is called."""

    SYNC = "sync"  # for each row, in the function of its stage
    ASYNC = "async"  # for each row, awaited
    BATCH = "batch"  # for many rows at once
    STREAMING = "streaming"  # for each row and as time goes on, with state


@dataclass(frozen=True, slots=True)
class Resources:
    """What a node may need that not every topology does: network, for calls of what is not Kafka; disk, for files."""

    network: bool = False
    disk: bool = False


class NodeConfig(BaseModel):
    """Base of every configuration: strict types, no unknown keys, frozen.

    Validators are built when first used: a process knows all kinds and uses few.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


@dataclass(frozen=True, slots=True)
class Flow:
    """What travels along an edge: rows of a schema, with a key (None: no key declared) under a name.

    repeats: whether one result may come more than once (updates of a window), so that it must not be counted again.
    table_retention_ms: of what comes right out of a table, how far back its versions go; None for all other rows.
    carries: of messages between the parts of a node, the (name, flow) of the inputs that they are about.
    """

    schema: Schema
    key: Expression | None = None
    key_name: str | None = None
    repeats: bool = False
    table_retention_ms: int | None = None
    carries: tuple[tuple[str, "Flow"], ...] = ()


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table that a node keeps; the planner adds the changelog. `window` None: one row per key.

    lateness_ms: how long after its end a window stays open; retention_ms: how long it answers queries after that.
    row_schema: the key and what a query shows; the node's output when left out.
    passing: of rows that wait for others, which leave the table by time, `retention_ms` after their own.
    """

    name: str
    window: WindowShape | None = None
    lateness_ms: int = 0
    retention_ms: int = 0
    row_schema: Schema | None = None
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Lowered:
    """A node in terms of the engine. `rekeys` marks that the key changes here; `outputs`: flow of each named output."""

    operator: Operator
    output: Flow
    table: TableShape | None = None
    rekeys: bool = False
    outputs: Mapping[str, Flow] = field(default_factory=dict)


@dataclass(slots=True)
class Lowering:
    """What a kind sees while it lowers one node: the node's name, its input, global tables, and where problems go.

    tables: rows and key of each global table by name; None when something is wrong with the table itself.
    input: all inputs merged, of one schema; of a kind that takes its inputs apart the first of them.
    inputs: (name, flow) of every input, for kinds that take them apart.
    identity: kind, version and options, of nodes that may keep results.
    """

    name: str
    input: Flow
    tables: Mapping[str, Flow | None] = field(default_factory=dict)
    inputs: tuple[tuple[str, Flow], ...] = ()
    problems: list[Problem] = field(default_factory=list)
    identity: str = ""

    def problem(self, message: str, remedy: str = "", key: str = "") -> None:
        """Report something wrong with this node; `key` is the configuration key at fault."""
        self.problems.append(Problem(f"nodes.{self.name}" + (f".{key}" if key else ""), message, remedy))

    def expression(self, source: str, key: str) -> Expression | None:
        """Compile an expression over the input; a refused one is a problem and gives None."""
        try:
            return compile_expression(source, self.input.schema)
        except ExpressionError as error:
            self.problem(str(error), key=key)
            return None

    def condition(self, source: str, key: str) -> Expression | None:
        """Compile an expression that must be true or false; a refused one is a problem and gives None."""
        found = self.expression(source, key)
        if found is not None and (found.type != "bool" or found.nullable):
            message = f"a condition is true or false, this is {found.type}{'?' if found.nullable else ''}"
            self.problem(message, "compare it with something", key)
            return None
        return found

    def or_null(self, source: str, name: str, key: str) -> Expression | None:
        """Compile an expression over field `name` that is null where the field is; see `expression`."""
        field = self.input.schema.field(name)
        may_be_null = field is not None and (field.nullable or field.type is FieldType.JSON)
        return self.expression(f"{source} if {name} is not None else None" if may_be_null else source, key)

    def numeric_of_key(self, name: str) -> bool:
        """Whether `field` names a numeric field and rows have a key; what is wrong is a problem."""
        if self.input.key is None:
            self.problem("rows have no key here", "put a key_by before it, or declare the source's key")
        field = self.input.schema.field(name) if self.has_field(name, "field") else None
        if field is not None and field.type not in ("int", "float"):
            self.problem(f"a number is needed, {name!r} is {field.type}", "cast it before", "field")
        return not self.failed

    def has_field(self, name: str, key: str) -> bool:
        """Whether the input has a field; if not, that is a problem."""
        names = self.input.schema.names
        if name in names:
            return True
        self.problem(f"unknown field {name!r}", near_name(name, names, "fields are"), key)
        return False

    @property
    def failed(self) -> bool:
        """Whether something is wrong already."""
        return bool(self.problems)


class NodeKind(ABC):
    """A kind of node. Subclasses set the class variables and implement `lower`."""

    kind: ClassVar[str]
    display_name: ClassVar[str]
    description: ClassVar[str]
    category: ClassVar[Category]
    icon: ClassVar[str] = "node"
    version: ClassVar[str] = "1.0.0"
    author: ClassVar[str] = ""
    tags: ClassVar[tuple[str, ...]] = ()
    #: Ways in which its nodes may run; left out: streaming with state, else sync.
    modes: ClassVar[tuple[Mode, ...]] = ()
    resources: ClassVar[Resources] = Resources()
    config_type: ClassVar[type[NodeConfig]]
    #: For each older major version of `version` a function from its configuration to that of the next.
    migrations: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}
    #: A configuration that is valid over READING (streamflow.testing.compliance), for reference pages and tests.
    example: ClassVar[Mapping[str, Any]]
    #: Fields of the form whose options or value follow from others.
    dependents: ClassVar[tuple[Dependent, ...]] = ()
    stateful: ClassVar[bool] = False
    #: Whether rows get another key here, so that they travel by topic to what is stateful behind it.
    rekeys: ClassVar[bool] = False
    #: Whether of the results of a key only the last one follows from the events alone, and not those on the way to it.
    settles: ClassVar[bool] = False
    #: Outputs that others may read as `node.output`, beside the rows that are read by the node's name.
    asides: ClassVar[tuple[str, ...]] = ()
    #: (least, most) inputs of a kind whose inputs differ in what they mean; None: all inputs are one stream.
    inputs_apart: ClassVar[tuple[int, int] | None] = None
    #: Whether a node that `requires` what those before do not gets its rows by a topic of its own, for other workers.
    parts_off: ClassVar[bool] = False
    #: Whether a single `on` is meant for the first of such inputs only.
    on_first_only: ClassVar[bool] = False

    @classmethod
    def outputs_of(cls, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the outputs of a node with this configuration as written, which need not be well formed.

        Others read them as `node.output`. Empty: the kind has one output, read by the node's name.
        """
        return ()

    @classmethod
    def awaits(cls, config: Mapping[str, Any]) -> bool:
        """Whether a node with this configuration as written lowers to an Await: its rows come by a topic of its own."""
        return False

    @abstractmethod
    def lower(self, config: Any, lowering: Lowering) -> Lowered | None:
        """The node in terms of the engine, or None when problems were reported."""
