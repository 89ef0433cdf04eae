"""Values of one type as another: `as_int(x)` fails where nothing exact comes out, `try_int(x)` gives null there.

to      takes                                                   not
int     whole numbers, bools (1, 0), decimal text               1.5, "1.0", "1_000", beyond 64 bits
float   numbers, bools, decimal text                            infinity, not-a-number
bool    bools, 0 and 1, "true" and "false" in any case          other numbers and texts
time    milliseconds, ISO 8601 text (UTC without an offset)     beyond 2^61
str     everything: numbers as written in JSON, lists and objects as JSON
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from streamflow.model.codec import time_ms
from streamflow.model.schema import FieldType

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORDS = {"true": True, "1": True, "false": False, "0": False}


def as_int(value: Any) -> int:
    """A whole number of 64 bits. Raises ValueError."""
    if value.__class__ is str and "_" not in value:
        whole = int(value)
    elif isinstance(value, int | float):
        whole = int(value)
        if whole != value:
            raise ValueError(f"{value!r} is no whole number")
    else:
        raise ValueError(f"{value!r} is no whole number")
    if not -(2**63) <= whole < 2**63:
        raise ValueError(f"{value!r} is beyond 64 bits")
    return whole


def as_float(value: Any) -> float:
    """A finite number. Raises ValueError."""
    if not isinstance(value, int | float | str) or (value.__class__ is str and "_" in value):
        raise ValueError(f"{value!r} is no number")
    number = float(value)
    if number - number != 0.0:
        raise ValueError(f"{value!r} is not finite")
    return number


def as_bool(value: Any) -> bool:
    """True or false. Raises ValueError."""
    if value.__class__ is str:
        found = _WORDS.get(value.strip().lower())
        if found is not None:
            return found
    elif isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise ValueError(f"{value!r} is neither true nor false")


def as_time(value: Any) -> int:
    """Milliseconds since the epoch. Raises ValueError."""
    text = value.__class__ is str and not value.strip().lstrip("-").isdecimal()
    found = time_ms(value) if text else as_int(value)
    if not -(2**61) <= found <= 2**61:
        raise ValueError(f"{value!r} is beyond all times")
    return found


def as_str(value: Any) -> str:
    """Text. Raises ValueError for what JSON cannot hold."""
    return value if value.__class__ is str else msgspec.json.encode(value).decode()


def iso(moment_ms: int) -> str:
    """ISO 8601 with milliseconds, in UTC. Raises OverflowError outside of the years 1 to 9999."""
    return (_EPOCH + timedelta(milliseconds=moment_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _or_null(cast: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def attempt(value: Any) -> Any:
        try:
            return cast(value)
        except (ValueError, OverflowError):
            return None

    return attempt


_EXACT: dict[str, tuple[Callable[[Any], Any], FieldType]] = {
    "int": (as_int, FieldType.INT),
    "float": (as_float, FieldType.FLOAT),
    "bool": (as_bool, FieldType.BOOL),
    "time": (as_time, FieldType.TIMESTAMP),
    "str": (as_str, FieldType.STR),
}
#: By the name an expression uses.
CASTS = {f"as_{name}": cast for name, cast in _EXACT.items()} | {
    f"try_{name}": (_or_null(cast), result) for name, (cast, result) in _EXACT.items()
}
