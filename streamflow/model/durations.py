"""Durations as people write them: `500ms`, `10s`, `5m`, `2h`, `1d`, `1w`; an integer is milliseconds."""

import re
from fractions import Fraction

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_FORM = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*(ms|s|m|h|d|w)")


def parse_duration_ms(value: str | int) -> int:
    """Milliseconds of a duration. Raises ValueError with the accepted forms."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value >= 0:
            return value
    elif isinstance(value, str) and (match := _FORM.fullmatch(value.strip())):
        milliseconds = Fraction(match[1]) * _UNITS_MS[match[2]]
        if milliseconds.denominator == 1:
            return milliseconds.numerator
    raise ValueError(f"{value!r} is not a duration; write a number with ms, s, m, h, d or w, such as 500ms or 2h")


def format_duration(value_ms: int) -> str:
    """Shortest exact form: 7200000 -> "2h"."""
    for unit, size in reversed(_UNITS_MS.items()):
        if value_ms and value_ms % size == 0:
            return f"{value_ms // size}{unit}"
    return f"{value_ms}ms"
