"""How rows leave the generated functions."""

from streamflow.engine.source_code import SourceCode
from streamflow.model.expression import Expression
from streamflow.model.schema import FieldType


def leave(
    code: SourceCode, number: int, key: str, key_of: Expression | None, value: str, headers: str = "None"
) -> None:
    """Append (key bytes, value, headers) to the output list of the key's partition."""
    if key_of is not None and key_of.type is FieldType.STR and not key_of.nullable:
        code.line(f"s{number} = sent_{number}({key}) or text_{number}({key})")
        code.line(f"s{number}(({key}.encode(), {value}, {headers}))")
    else:
        code.line(f"b{number}, s{number} = known_{number}({key}) or route_{number}({key})")
        code.line(f"s{number}((b{number}, {value}, {headers}))")
