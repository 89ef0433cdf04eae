"""A person's own aggregate, in Python.

    @register
    class Spread(OwnAggregate):
        name, version = "spread", 1
        description = "greatest value less the smallest one"
        arguments, result_type = ("int", "float"), "float?"

        def init(self):
            return []

        def add(self, state, value):
            return [min([value, *state]), max([value, *state])]

        def merge(self, state, other):
            both = state + other
            return [min(both), max(both)] if both else []

        def result(self, state):
            return float(state[1] - state[0]) if state else None

A topology then writes `spread(value)`. In a Python topology it is registered where it is defined; a package offers it
to every topology as an entry point of the group `streamflow.aggregates`, under the aggregate's name.
"""

import re
from abc import ABC, abstractmethod
from importlib.metadata import entry_points
from typing import Any, ClassVar

import msgspec

from streamflow.errors import EventError, Problem, TopologyError, UserError
from streamflow.model.schema import FieldType
from streamflow.windows.aggregates.aggregate import Aggregate, AggregateKind, Cell

GROUP = "streamflow.aggregates"
_pack, _unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode
_PYTHON: dict[FieldType, tuple[type, ...]] = {
    FieldType.STR: (str,),
    FieldType.INT: (int,),
    FieldType.FLOAT: (float, int),
    FieldType.BOOL: (bool,),
    FieldType.TIMESTAMP: (int,),
}


class OwnAggregate(ABC):
    """Base of a person's own aggregate: one instance serves all windows, the state is passed in and out.

    State is plain data (None, bool, int, float, str, bytes, list, dict with text keys): it is written with msgpack, so
    a tuple comes back as a list. `add` and `merge` may change `state` and must return it; `other` is a copy.

    name: as topologies write it. version: raise it when the meaning of the state changes. arguments: field types it
    takes. result_type: field type of the result, with ? when it may be null.
    bytes_max: bound of the state when written; one that grows beyond it stops the worker.
    """

    name: ClassVar[str]
    description: ClassVar[str] = ""
    version: ClassVar[int] = 1
    arguments: ClassVar[tuple[str, ...]]
    result_type: ClassVar[str]
    bytes_max: ClassVar[int] = 65_536

    def lift(self, value: Any) -> Any:
        """The value as `add` takes it. Raise ValueError here to refuse an event: it becomes a dead letter."""
        return value

    @abstractmethod
    def init(self) -> Any:
        """State of a window without values, a new one at each call."""

    @abstractmethod
    def add(self, state: Any, value: Any) -> Any:
        """The state with one value more. Values come in the order of arrival and are never null."""

    @abstractmethod
    def merge(self, state: Any, other: Any) -> Any:
        """The state with those values that `other` has; they arrived later, of two events of one time."""

    @abstractmethod
    def result(self, state: Any) -> Any:
        """What a result row shows."""


class OwnState:
    """State of an own aggregate; a subclass per aggregate knows which."""

    __slots__ = ("data",)
    aggregate: ClassVar[OwnAggregate]

    def __init__(self) -> None:
        self.data = self.aggregate.init()

    def add(self, value: Any) -> None:
        """Take a value in."""
        self.data = self.aggregate.add(self.data, value)

    def merge(self, other: "OwnState") -> None:
        """Take in what another one has."""
        self.data = self.aggregate.merge(self.data, _unpack(_pack(other.data)))

    def result(self) -> Any:
        """The result. Raises EventError when it is not of the declared type."""
        value, aggregate = self.aggregate.result(self.data), self.aggregate
        kind = FieldType(aggregate.result_type.removesuffix("?"))
        allowed = _PYTHON.get(kind)
        is_bool = value.__class__ is bool and kind is not FieldType.BOOL
        if allowed is None or (isinstance(value, allowed) and not is_bool):
            return value
        if value is None and aggregate.result_type.endswith("?"):
            return None
        message = f"{aggregate.name} gave {value!r:.60}, its result_type is {aggregate.result_type}"
        raise EventError("aggregate_result", message)

    def state(self) -> Any:
        """Plain data. Raises UserError when it is none, or too much."""
        aggregate = self.aggregate
        try:
            data = _pack(self.data)
        except (TypeError, OverflowError, RecursionError) as error:
            message = f"the state of aggregate {aggregate.name!r} cannot be written: {error}; keep plain data in it"
            raise UserError(message) from error
        if len(data) > aggregate.bytes_max:
            message = f"the state of aggregate {aggregate.name!r} takes {len(data)} bytes, its bytes_max is"
            raise UserError(f"{message} {aggregate.bytes_max}: bound what it keeps")
        return data

    @classmethod
    def of(cls, data: Any) -> "OwnState":
        """From what `state` gave."""
        made = cls.__new__(cls)
        made.data = _unpack(data)
        return made


class Registry:
    """Own aggregates by name: registered ones, and those of installed packages when they are asked for."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[type[OwnAggregate], AggregateKind]] = {}

    def add(self, own: type[OwnAggregate]) -> None:
        """Take a class in. Raises TopologyError with all that is wrong with it."""
        kind = kind_of(own)
        before = self._kinds.get(kind.name)
        # A topology file that is read again defines its classes again.
        if before is not None and before[0].__qualname__ != own.__qualname__:
            message = f"is registered by {before[0].__qualname__} already"
            raise TopologyError((Problem(f"aggregate {kind.name}", message, f"rename {own.__qualname__}'s"),))
        self._kinds[kind.name] = own, kind

    def find(self, name: str) -> AggregateKind | None:
        """The aggregate of that name. Raises TopologyError when its package fails."""
        if name not in self._kinds:
            for entry in entry_points(group=GROUP, name=name):
                self.add(_loaded(entry))
        found = self._kinds.get(name)
        return None if found is None else found[1]

    def names(self) -> list[str]:
        """Every name, those of packages that are not loaded included."""
        return sorted({*self._kinds, *entry_points(group=GROUP).names})


def _loaded(entry: Any) -> type[OwnAggregate]:
    """The class of an entry point; what its package raises is a problem of the package."""
    try:
        own: type[OwnAggregate] = entry.load()
    except Exception as error:
        message = f"entry point {entry.value} fails: {type(error).__name__}: {error}"
        raise TopologyError((Problem(f"aggregate {entry.name}", message, "mend or remove its package"),)) from error
    if getattr(own, "name", None) != entry.name:
        message = f"entry point {entry.value} has another name: {getattr(own, 'name', None)!r}"
        raise TopologyError((Problem(f"aggregate {entry.name}", message, "give both the same name"),))
    return own


def kind_of(own: type[OwnAggregate]) -> AggregateKind:
    """The class as a kind of aggregate. Raises TopologyError with all that is wrong with it."""
    if not (isinstance(own, type) and issubclass(own, OwnAggregate)):
        raise _refused(repr(own), ["is no class derived from OwnAggregate"])
    name = str(getattr(own, "name", own.__qualname__))
    wrong = [f"has no {each}" for each in ("name", "arguments", "result_type") if not hasattr(own, each)]
    wrong += [f"does not define {each}" for each in sorted(own.__abstractmethods__)]
    if wrong:
        raise _refused(name, wrong)
    unknown = {*own.arguments, own.result_type.removesuffix("?")} - set(FieldType)
    wrong += [f"has an unknown type {each!r}; types are {', '.join(FieldType)}" for each in sorted(unknown)]
    if not own.arguments:
        wrong.append("takes no type of argument")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        wrong.append("needs a name of small letters, digits and _")
    if wrong:
        raise _refused(name, wrong)
    state = type(f"{own.__qualname__}State", (OwnState,), {"__slots__": (), "aggregate": own()})
    _check_state(name, state)
    types = frozenset(FieldType(each) for each in own.arguments)
    return AggregateKind(name, own.description, "required", types, lambda kind, _given: _aggregate(state, kind))


def _check_state(name: str, state: type[OwnState]) -> None:
    """A state without values must be written and read as it is, and be new each time."""
    try:
        first, second = state(), state()
        first.merge(second)
        if state.of(second.state()).data != second.data:
            raise _refused(name, ["its state does not come back from msgpack as it was: use lists and text keys"])
        if second.data is state().data and isinstance(second.data, list | dict):
            raise _refused(name, ["init() gives the same object each time: windows would share it"])
    except UserError:
        raise
    except Exception as error:
        raise _refused(name, [f"fails without values: {type(error).__name__}: {error}"]) from error


def _refused(name: str, wrong: list[str]) -> TopologyError:
    return TopologyError(tuple(Problem(f"aggregate {name}", each, "see docs/aggregates.md") for each in wrong))


def _aggregate(state: type[OwnState], argument: FieldType | None) -> Aggregate:
    own = state.aggregate
    lifts = type(own).lift is not OwnAggregate.lift
    return Aggregate(
        own.name,
        f"own {own.name}/{own.version} {argument}",
        (Cell(state, make=state),),
        ("{a}.{0}.add({v})",),
        ("{a}.{0}.merge({b}.{0})",),
        "{a}.{0}.result()",
        FieldType(own.result_type.removesuffix("?")),
        "few" if own.result_type.endswith("?") else "never",
        lift=f"own_{own.name}({{v}})" if lifts else "",
        names={f"own_{own.name}": own.lift} if lifts else {},
    )
