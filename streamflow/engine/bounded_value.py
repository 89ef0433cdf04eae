"""Computed numbers are checked before anything is made of them."""

from streamflow.model.expression import Expression
from streamflow.model.schema import FieldType


def is_bounded(value: Expression) -> bool:
    """Whether a value needs no check: it is no number, or that of a field."""
    return value.source in value.fields or value.type not in (FieldType.INT, FieldType.FLOAT, FieldType.TIMESTAMP)


def bounded(value: Expression, row: str) -> str:
    """Python of a value; what was computed is checked to be a number that JSON and 64 bits can hold.

    x - x is 0.0 for every float but infinity and not-a-number.
    """
    text = value.python(row)
    if is_bounded(value):
        return text
    test = "x - x == 0.0" if value.type is FieldType.FLOAT else f"{-(2**63)} <= x <= {2**63 - 1}"
    if value.nullable:
        return f"(x if (x := {text}) is None or {test} else task.refuse_number(x))"
    return f"(x if {test.replace('x', f'(x := {text})', 1)} else task.refuse_number(x))"


def check(value: Expression, variable: str) -> str:
    """Python of a statement that checks a computed number in a variable in the same way."""
    within = f"{variable} - {variable} == 0.0"
    if value.type is not FieldType.FLOAT:
        within = f"{-(2**63)} <= {variable} <= {2**63 - 1}"
    test = f"{variable} is None or {within}" if value.nullable else within
    return f"if not ({test}): task.refuse_number({variable})"
