"""Fields of a form that depend on others: their options, or their value, follow from the values chosen so far.

    dependents = (
        Dependent("bank", banks_of, depends_on=("directory", "account")),                      options of an option
        Dependent("bank_info", info_of, depends_on=("directory", "bank"), derived=True, help="…"),   shown, not stored
    )

A function gets the values of the field's parents, and the global tables of the running topology. It is asked when all
parents have a value that can be used: one that is chosen, or the default, and that is itself among its options.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

#: Most options of one answer; `more` says that there are others.
OPTIONS_MAX = 1_000


class FormTables(Protocol):
    """Global tables of a running topology, as they are now."""

    @property
    def names(self) -> Sequence[str]:
        """All of them."""

    def fields(self, table: str) -> Sequence[str]:
        """Names of the fields of a table's rows. Raises UserError when there is no such table."""

    def rows(self, table: str) -> Iterator[Mapping[str, Any]]:
        """Every row, its key included, in no order. Raises UserError when there is no such table."""


@dataclass(frozen=True, slots=True)
class Dependent:
    """One such field. find: gives options (scalars, each once or more), or of a derived field its value (None: none).

    It raises UserError when a table has not the fields that it needs. help: of a derived field; an option has its own.
    """

    name: str
    find: Callable[[Mapping[str, Any], FormTables], Any]
    depends_on: tuple[str, ...] = ()
    derived: bool = False
    help: str = ""


def dependents_problem(dependents: Sequence[Dependent], options: Iterable[str]) -> str | None:
    """What is wrong with the dependent fields of a kind that has these options; None when nothing is."""
    known, fields = set(options), {each.name: each for each in dependents}
    if len(fields) < len(dependents):
        return "two dependent fields have one name"
    for each in dependents:
        if each.derived == (each.name in known):
            return f"derived field {each.name!r} is an option" if each.derived else f"there is no option {each.name!r}"
        for parent in each.depends_on:
            if parent not in known and parent not in fields:
                return f"field {each.name!r} depends on {parent!r}, which is no field"
    done: set[str] = set()
    while waiting := [each for each in dependents if each.name not in done]:
        ready = {each.name for each in waiting if all(p not in fields or p in done for p in each.depends_on)}
        if not ready:
            return f"fields depend on one another in a circle: {', '.join(each.name for each in waiting)}"
        done |= ready
    return None


class FormAnswers:
    """Answers about the dependent fields of one form, for one state of its values.

    values: by option, defaults included. What was worked out once is kept, so parents are asked once.
    """

    def __init__(self, dependents: Sequence[Dependent], values: Mapping[str, Any], tables: FormTables) -> None:
        self._fields = {each.name: each for each in dependents}
        self._values, self._tables = values, tables
        self._found: dict[str, Any] = {}

    def answer(self, name: str) -> dict[str, Any]:
        """`field`, `type`, `waits_for` (parents without a value that can be used), and `options` and `more`, or of a
        derived field `value`; they are null while it waits. Raises UserError, KeyError for no such field.
        """
        field = self._fields[name]
        about = {"field": name, "type": "derived" if field.derived else "select", "waits_for": self._missing(field)}
        if field.derived:
            return about | {"value": self._worked_out(field)}
        options = self._worked_out(field)
        shown = None if options is None else list(islice(options, OPTIONS_MAX))
        return about | {"options": shown, "more": options is not None and len(options) > OPTIONS_MAX}

    def unusable(self) -> list[str]:
        """Fields whose value is none of their options, though their parents are complete."""
        return [
            name
            for name, field in self._fields.items()
            if not field.derived
            and self._values.get(name) is not None
            and not self._missing(field)
            and self._value(name) is None
        ]

    def _missing(self, field: Dependent) -> list[str]:
        return [parent for parent in field.depends_on if self._value(parent) is None]

    def _value(self, name: str) -> Any:
        """The value of a field that others may build on; None when it has none."""
        field = self._fields.get(name)
        if field is not None and field.derived:
            return self._worked_out(field)
        value = self._values.get(name)
        if field is None or value is None:
            return value
        options = self._worked_out(field)
        chosen = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else (value,)
        return value if options is not None and all(each in options for each in chosen) else None

    def _worked_out(self, field: Dependent) -> Any:
        """Options as a tuple, or the derived value; None while the field waits."""
        if field.name not in self._found:
            found = None
            if not self._missing(field):
                found = field.find({parent: self._value(parent) for parent in field.depends_on}, self._tables)
                found = found if field.derived else tuple(dict.fromkeys(found))
            self._found[field.name] = found
        return self._found[field.name]
