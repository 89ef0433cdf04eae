"""Expressions: what is allowed, what it gives, and that nothing else gets through."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.errors import ExpressionError
from streamflow.model.expression import compile_expression
from streamflow.model.schema import Field, FieldType, Schema

SCHEMA = Schema(
    "Event",
    (
        Field("t", FieldType.TIMESTAMP),
        Field("v", FieldType.FLOAT, True),
        Field("n", FieldType.INT),
        Field("s", FieldType.STR),
        Field("ok", FieldType.BOOL),
        Field("j", FieldType.JSON),
        Field("o", FieldType.JSON, nullable=True),
    ),
)
ROW = SimpleNamespace(t=1357016400000, v=2.5, n=7, s="abc", ok=True, j=None, o={"who": {"names": ["Ada", "Lovelace"]}})


@pytest.mark.parametrize(
    ("source", "value", "kind"),
    [
        ("n * 2 + 1", 15, "int"),
        ("n / 2", 3.5, "float"),
        ("-n // 2", -4, "int"),
        ("1 < n <= 7 and s == 'abc'", True, "bool"),
        ("s in ('abc', 'x') or not ok", True, "bool"),
        ("v is not None and v > 2", True, "bool"),
        ("coalesce(v, 0) * 2", 5.0, "float"),
        ("'big' if n > 5 else 'small'", "big", "str"),
        ("hour(t)", 5, "int"),
        ("upper(s) + '-' + str(n)", "ABC-7", "str"),
        ("max(n, 9)", 9, "int"),
        ("t + 1000", 1357016401000, "timestamp"),
        ("contains(s, 'b')", True, "bool"),
        ("as_str(at(o, 'who.names.1'))", "Lovelace", "str"),
        ("at_or(o, 'who.age', 36) == 36", True, "bool"),
        ("at_or(j, 'who', 'nobody')", "nobody", "json"),
        ("try_at(o, 'who.names.2') is None and try_at(o, '__class__') is None", True, "bool"),
    ],
)
def test_values_and_types(source: str, value: object, kind: str) -> None:
    expression = compile_expression(source, SCHEMA)
    assert expression.evaluate()(ROW) == value
    assert expression.type == kind


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("v > 2", "may be null"),
        ("v is None or v > 2 and v is None and n > v + (1 if v is None else 'x')", "one type"),
        ("vv > 2", "did you mean 'v'"),
        ("uper(s)", "did you mean 'upper'"),
        ("n + s", "is needed here"),
        ("n and ok", "a condition is needed"),
        ("s < 3", "cannot be compared"),
        ("n ** 9", "not part of the language"),
        ("s * 99999", "is needed here"),
        ("s.upper()", "only listed functions"),
        ("s.__class__", "not part of the language"),
        ("__import__('os')", "unknown function"),
        ("[x for x in s]", "not part of the language"),
        ("(lambda: 1)()", "only listed functions"),
        ("n if", "is not an expression"),
        ("1 " + "+ 1" * 150, "at most 200 parts"),
        ("'" + "x" * 300 + "'", "not allowed or too large"),
        ("n" * 2_000, "at most 1024 characters"),
        ("s in t", "takes a list"),
        ("at(s, 'a')", "json is needed here"),
        ("as_int(try_at(o, 'a'))", "may be null"),
        ("n is 7", "only for null tests"),
        ("j == v and v > 1", "may be null"),
        ("s == '\\ud800'", "not allowed or too large"),
    ],
)
def test_refusals_say_why(source: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=r".") as caught:
        compile_expression(source, SCHEMA)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("source", "narrows"),
    [
        ("v is not None", {"v"}),
        ("not (v is None) and n > 1", {"v"}),
        ("v is None", set()),
        ("v is not None or ok", set()),
    ],
)
def test_a_true_condition_tells_what_is_not_null(source: str, narrows: set[str]) -> None:
    assert compile_expression(source, SCHEMA).narrows & {"v"} == narrows


@given(st.text(max_size=60))
def test_any_text_is_refused_or_compiled_but_nothing_else_happens(source: str) -> None:
    try:
        expression = compile_expression(source, SCHEMA)
    except ExpressionError:
        return
    assert "\0" not in expression.python("row")


_NUMBERS = st.sampled_from(["n", "3", "2.5", "len(s)", "abs(n)"])
_ARITHMETIC = st.recursive(
    _NUMBERS,
    lambda inner: st.builds(lambda a, o, b: f"({a} {o} {b})", inner, st.sampled_from(["+", "-", "*"]), inner),
    max_leaves=8,
)


@given(_ARITHMETIC)
def test_arithmetic_equals_python(source: str) -> None:
    expected = eval(source, {"len": len, "abs": abs}, vars(ROW))
    assert compile_expression(source, SCHEMA).evaluate()(ROW) == expected
