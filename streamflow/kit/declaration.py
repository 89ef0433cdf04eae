"""What a person's code declares about itself, read from its type hints.

class Silence(Process):                                     rows it takes: any with the fields of Reading
    def process(self, row: Reading) -> None: …              rows it gives: Silent
    def on_timer(self, timer: Timer) -> Iterator[Silent]: …

def graded(row: Reading) -> Grade | None: …                 the same for a function over one row
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec

from streamflow.kit.process import Process, states_of
from streamflow.kit.rows import Row, schema_of
from streamflow.kit.states import State

#: A node class, or a function over one row.
Target = type[Process] | Callable[..., Any]


class NotDeclared(Exception):
    """The code does not say what is needed, or cannot be found. `remedy` says what to write."""

    def __init__(self, message: str, remedy: str = "") -> None:
        self.remedy = remedy
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Declaration:
    """A target, the row class that it takes (None: any row) and the one that it gives (None: it gives none)."""

    target: Target
    input_type: type[Row] | None
    output_type: type[Row] | None

    @property
    def is_async(self) -> bool:
        """Whether it is a function to be awaited."""
        return inspect.iscoroutinefunction(self.target)

    @property
    def states(self) -> tuple[State, ...]:
        """States of a node class."""
        return states_of(self.target) if isinstance(self.target, type) else ()

    @property
    def layout(self) -> str:
        """What gives the bytes of its states their meaning."""
        version = getattr(self.target, "version", 1)
        return msgspec.json.encode([version, [state.layout for state in self.states]], order="sorted").decode()


def find(path: str) -> Any:
    """The object at `package.module:Name`. Raises NotDeclared; whatever importing the module raises is told."""
    module_name, colon, name = path.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise NotDeclared(f"{path!r} is no import path", "write package.module:Name")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        remedy = "install its package, or put the module into the topology's folder"
        raise NotDeclared(f"{module_name} cannot be imported: {type(error).__name__}: {error}", remedy) from error
    if not hasattr(module, name):
        raise NotDeclared(f"module {module_name} has no {name}", "correct the name behind the colon")
    return getattr(module, name)


def declaration_of_node(target: Any) -> Declaration:
    """Declaration of a Process class. Raises NotDeclared."""
    if not (isinstance(target, type) and issubclass(target, Process) and target is not Process):
        raise NotDeclared(f"{_name(target)} is no node class", "derive it from streamflow.kit.Process")
    taken, gives = _hints(target.process)
    given = {each for each in (gives, _hints(target.on_timer)[1]) if each is not None}
    if len(given) > 1:
        names = " and ".join(sorted(each.__name__ for each in given))
        raise NotDeclared(f"{_name(target)} gives rows of {names}", "give rows of one class")
    declared = Declaration(target, taken, next(iter(given), None))
    try:
        declared.layout  # noqa: B018 - a type without a schema says so here
    except (TypeError, ValueError) as error:
        raise NotDeclared(f"a state of {_name(target)} cannot be kept: {error}", "use a type of msgspec") from error
    return declared


def declaration_of_function(target: Any) -> Declaration:
    """Declaration of a function over one row. Raises NotDeclared: without a row class as its result it is none."""
    if not inspect.isfunction(target):
        raise NotDeclared(f"{_name(target)} is no function", "a class over Process goes into a node of kind process")
    if inspect.isasyncgenfunction(target):
        raise NotDeclared(f"{_name(target)} is an async generator", "return a list of rows")
    taken, given = _hints(target)
    if given is None:
        raise NotDeclared(f"{_name(target)} does not say which rows it gives", "hint its result: `-> MyRow | None`")
    return Declaration(target, taken, given)


def problems_of_arguments(target: Target, arguments: Mapping[str, Any]) -> list[str]:
    """What is wrong with the arguments that a class is made with, or that a function gets behind its row."""
    function: Callable[..., Any] = getattr(target, "__init__") if isinstance(target, type) else target  # noqa: B009
    if function is object.__init__:
        return [f"{_name(target)} takes no arguments"] if arguments else []
    signature = inspect.signature(function)
    first = object()  # stands for self, or the row
    try:
        bound = signature.bind(first, **arguments)
    except TypeError as error:
        return [f"{error}; it is {_name(target)}{signature}"]
    hints = _all_hints(function)
    problems = []
    for name in sorted(bound.arguments.keys() & arguments.keys() & hints.keys()):
        try:
            msgspec.convert(arguments[name], hints[name])
        except msgspec.ValidationError as error:
            problems.append(f"{name}: {error}")
    return problems


def _hints(function: Callable[..., Any]) -> tuple[type[Row] | None, type[Row] | None]:
    """(row class of the first argument, row class of the result). None: not hinted as one."""
    name = _name(function)
    hints = _all_hints(function)
    parameters = [each for each in inspect.signature(function).parameters if each != "self"]
    taken = hints.get(parameters[0]) if parameters else None
    input_type = taken if isinstance(taken, type) and issubclass(taken, Row) and taken is not Row else None
    found = list(dict.fromkeys(_row_types(hints.get("return"))))
    if len(found) > 1:
        raise NotDeclared(f"{name} gives rows of several classes", "give rows of one class")
    for each in (input_type, *found):
        if each is not None:
            try:
                schema_of(each)
            except (ValueError, NameError) as error:
                raise NotDeclared(str(error)) from error
    return input_type, found[0] if found else None


def _all_hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except NameError as error:
        remedy = "import it at the top of the module, not only for type checkers"
        raise NotDeclared(f"a hint of {_name(function)} cannot be read: {error}", remedy) from error


def _row_types(hint: Any) -> list[type[Row]]:
    """Row classes in a hint such as `Iterator[Alert] | None`."""
    if isinstance(hint, type) and not get_args(hint):
        return [hint] if issubclass(hint, Row) and hint is not Row else []
    return [each for part in get_args(hint) if part is not NoneType for each in _row_types(part)]


def _name(target: Any) -> str:
    return getattr(target, "__qualname__", None) or repr(target)
