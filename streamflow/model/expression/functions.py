"""Functions an expression may call: what they take, what they give, and the Python that runs.

Bounded work only: nothing here loops over more than its argument, and texts cannot be multiplied.
"""

import hashlib
import hmac
import math
import os
from binascii import crc32
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from streamflow.errors import EventError
from streamflow.model.expression import casts, members
from streamflow.model.expression.tidying import tidied
from streamflow.model.schema import FieldType

_TEXT = frozenset({FieldType.STR})
_NUMBER = frozenset({FieldType.INT, FieldType.FLOAT})
_TIME = frozenset({FieldType.TIMESTAMP})
_ANY = frozenset(FieldType)
_JSON = frozenset({FieldType.JSON})
_SCALAR = _ANY - _JSON


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    arguments: types each argument may have; the last repeats when `repeats`. result None: as the first argument.
    nullable: whether the result may be null. takes_null: whether the first argument may be.
    """

    call: Callable[..., Any]
    arguments: tuple[frozenset[FieldType], ...]
    result: FieldType | None
    repeats: bool = False
    nullable: bool = False
    takes_null: bool = False


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1_000, UTC)


def _substring(text: str, start: int, length: int) -> str:
    return text[max(0, start) : max(0, start) + max(0, length)]


def sha256(text: str) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=100)
def _secret(variable: str) -> bytes:
    found = os.environ.get(variable)
    if not found:
        raise EventError("expression", f"environment variable {variable} is not set")
    return found.encode()


def hmac_sha256(text: str, variable: str) -> str:
    """64 hexadecimal digits; the key is in an environment variable. Raises EventError when it is not set."""
    return hmac.digest(_secret(variable), text.encode(), "sha256").hex()


def share(text: str) -> float:
    """A number from 0 to 1, spread evenly, from the text alone. No secret: CRC-32, mixed by Fibonacci hashing."""
    return (crc32(text.encode()) * 0x9E3779B1 & 0xFFFFFFFF) / 0x100000000


def masked(text: str, keep: int) -> str:
    """Stars but for the last `keep` characters; all stars when there are not more than these."""
    hidden = len(text) - max(0, keep)
    return "*" * hidden + text[hidden:] if hidden > 0 else "*" * len(text)


def reduction(before: Any, after: Any) -> float:
    """By how many percent a text, or that of other JSON, became shorter. 0 when it became longer, or there was none."""
    size = _text_size(before)
    return max(0.0, 100 * (1 - _text_size(after) / size)) if size else 0.0


def _text_size(value: Any) -> int:
    return len(value or "") if isinstance(value, str | None) else len(msgspec.json.encode(value))


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
    "tidied": Function(tidied, (_TEXT | _JSON,), None),
    "startswith": Function(str.startswith, (_TEXT, _TEXT), FieldType.BOOL),
    "endswith": Function(str.endswith, (_TEXT, _TEXT), FieldType.BOOL),
    "contains": Function(str.__contains__, (_TEXT, _TEXT), FieldType.BOOL),
    "substring": Function(_substring, (_TEXT, frozenset({FieldType.INT}), frozenset({FieldType.INT})), FieldType.STR),
    "sha256": Function(sha256, (_TEXT,), FieldType.STR),
    "hmac_sha256": Function(hmac_sha256, (_TEXT, _TEXT), FieldType.STR),
    "share": Function(share, (_TEXT,), FieldType.FLOAT),
    "masked": Function(masked, (_TEXT, frozenset({FieldType.INT})), FieldType.STR),
    "reduction": Function(reduction, (_TEXT | _JSON, _TEXT | _JSON), FieldType.FLOAT, takes_null=True),
    "at": Function(members.at, (_JSON, _TEXT), FieldType.JSON, takes_null=True),
    "at_or": Function(members.at_or, (_JSON, _TEXT, _SCALAR), FieldType.JSON, takes_null=True),
    "try_at": Function(members.try_at, (_JSON, _TEXT), FieldType.JSON, nullable=True, takes_null=True),
    "split": Function(str.split, (_TEXT, _TEXT), FieldType.JSON),
    "iso": Function(casts.iso, (_TIME,), FieldType.STR),
    **{
        name: Function(call, (_ANY,), result, nullable=name.startswith("try_"))
        for name, (call, result) in casts.CASTS.items()
    },
    "year": Function(lambda t: _moment(t).year, (_TIME,), FieldType.INT),
    "month": Function(lambda t: _moment(t).month, (_TIME,), FieldType.INT),
    "day": Function(lambda t: _moment(t).day, (_TIME,), FieldType.INT),
    "hour": Function(lambda t: _moment(t).hour, (_TIME,), FieldType.INT),
    "minute": Function(lambda t: _moment(t).minute, (_TIME,), FieldType.INT),
    "weekday": Function(lambda t: _moment(t).isoweekday(), (_TIME,), FieldType.INT),
}

#: Names and callables for the namespace of compiled code. Python's own names are replaced on purpose.
FUNCTIONS: dict[str, Callable[..., Any]] = {name: function.call for name, function in CATALOGUE.items()}
