"""Computed numbers are checked before anything is made of them."""

from streamflow.model.expression import Expression
from streamflow.model.schema import FieldType


def bounded(value: Expression, row: str) -> str:
    """Python of a value; what was computed is checked to be a number that JSON and 64 bits can hold.

    x - x is 0.0 for every float but infinity and not-a-number.
    """
    text = value.python(row)
    if value.source in value.fields or value.type not in (FieldType.INT, FieldType.FLOAT, FieldType.TIMESTAMP):
        return text
    test = "x - x == 0.0" if value.type is FieldType.FLOAT else f"{-(2**63)} <= x <= {2**63 - 1}"
    if value.nullable:
        return f"(x if (x := {text}) is None or {test} else task.refuse_number(x))"
    return f"(x if {test.replace('x', f'(x := {text})', 1)} else task.refuse_number(x))"
