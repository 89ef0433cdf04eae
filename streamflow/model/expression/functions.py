"""Functions an expression may call: what they take, what they give, and the Python that runs.

Bounded work only: nothing here loops over more than its argument, and texts cannot be multiplied.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from streamflow.model.schema import FieldType

_TEXT = frozenset({FieldType.STR})
_NUMBER = frozenset({FieldType.INT, FieldType.FLOAT})
_TIME = frozenset({FieldType.TIMESTAMP})
_SCALAR = frozenset(FieldType) - {FieldType.JSON}


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    arguments: types each argument may have; the last repeats when `repeats`. result None: as the first argument.
    """

    call: Callable[..., Any]
    arguments: tuple[frozenset[FieldType], ...]
    result: FieldType | None
    repeats: bool = False


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1_000, UTC)


def _substring(text: str, start: int, length: int) -> str:
    return text[max(0, start) : max(0, start) + max(0, length)]


#: By the name an expression uses; the same names are in the namespace of compiled expressions.
CATALOGUE: dict[str, Function] = {
    "abs": Function(abs, (_NUMBER,), None),
    "round": Function(round, (_NUMBER,), FieldType.INT),
    "floor": Function(math.floor, (_NUMBER,), FieldType.INT),
    "ceil": Function(math.ceil, (_NUMBER,), FieldType.INT),
    "sqrt": Function(math.sqrt, (_NUMBER,), FieldType.FLOAT),
    "log": Function(math.log, (_NUMBER,), FieldType.FLOAT),
    "exp": Function(math.exp, (_NUMBER,), FieldType.FLOAT),
    "min": Function(min, (_NUMBER, _NUMBER), FieldType.FLOAT, repeats=True),
    "max": Function(max, (_NUMBER, _NUMBER), FieldType.FLOAT, repeats=True),
    "int": Function(int, (_NUMBER | _TEXT | {FieldType.BOOL},), FieldType.INT),
    "float": Function(float, (_NUMBER | _TEXT,), FieldType.FLOAT),
    "str": Function(str, (_SCALAR,), FieldType.STR),
    "len": Function(len, (_TEXT,), FieldType.INT),
    "lower": Function(str.lower, (_TEXT,), FieldType.STR),
    "upper": Function(str.upper, (_TEXT,), FieldType.STR),
    "strip": Function(str.strip, (_TEXT,), FieldType.STR),
    "startswith": Function(str.startswith, (_TEXT, _TEXT), FieldType.BOOL),
    "endswith": Function(str.endswith, (_TEXT, _TEXT), FieldType.BOOL),
    "contains": Function(str.__contains__, (_TEXT, _TEXT), FieldType.BOOL),
    "substring": Function(_substring, (_TEXT, frozenset({FieldType.INT}), frozenset({FieldType.INT})), FieldType.STR),
    "year": Function(lambda t: _moment(t).year, (_TIME,), FieldType.INT),
    "month": Function(lambda t: _moment(t).month, (_TIME,), FieldType.INT),
    "day": Function(lambda t: _moment(t).day, (_TIME,), FieldType.INT),
    "hour": Function(lambda t: _moment(t).hour, (_TIME,), FieldType.INT),
    "minute": Function(lambda t: _moment(t).minute, (_TIME,), FieldType.INT),
    "weekday": Function(lambda t: _moment(t).isoweekday(), (_TIME,), FieldType.INT),
}

#: Names and callables for the namespace of compiled code. Python's own names are replaced on purpose.
FUNCTIONS: dict[str, Callable[..., Any]] = {name: function.call for name, function in CATALOGUE.items()}
