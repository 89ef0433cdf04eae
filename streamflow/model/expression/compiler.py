"""Compiles an expression: parse with `ast`, walk a white list, type it against the schema, write Python.

Nothing of the source is executed before every node of it has passed: no attribute access, no subscripts, no
comprehensions, no names but fields and listed functions. The Python that comes out is made of our own text, with every
field as `row.field`, and runs inside the fused stage.

Nulls are followed through `and`, `or`, `not` and `… if … else …`: in `delay is not None and delay > 10` the right side
knows that `delay` is there. A nullable value in arithmetic or an ordering is refused, because Python would raise.
"""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from streamflow.errors import ExpressionError
from streamflow.model.expression.functions import CATALOGUE, FUNCTIONS
from streamflow.model.names import near_name
from streamflow.model.schema import FieldType, Schema

SOURCE_MAX_CHARS = 1_024
NODES_MAX = 200
LITERAL_MAX_CHARS = 256
LITERALS_MAX = 100

#: Stands for the row variable in emitted text; a NUL cannot occur otherwise, repr() escapes it in literals.
_ROW = "\0"
_FIELD = re.compile(rf"{_ROW}\.(\w+)")
_NUMBERS = (FieldType.INT, FieldType.FLOAT)
_ORDERED = (*_NUMBERS, FieldType.STR, FieldType.TIMESTAMP)
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
_ORDERINGS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression.

    source: as written. type, nullable: of its value. fields: names it reads. narrows: fields that are not null
    whenever it is true. Equality is by source and type.
    """

    source: str
    type: FieldType
    nullable: bool
    fields: frozenset[str]
    narrows: frozenset[str]
    _text: str = field(repr=False)

    def python(self, row: str, fields: Mapping[str, str] | None = None) -> str:
        """Python source of the value, with the row in a variable named `row`, or with `fields` in its place."""
        if fields is None:
            return self._text.replace(_ROW, row)
        return _FIELD.sub(lambda found: fields[found[1]], self._text)

    def evaluate(self) -> Callable[[Any], Any]:
        """A function from a row to the value."""
        code = compile(f"lambda row: {self.python('row')}", "<expression>", "eval")
        function: Callable[[Any], Any] = eval(code, dict(FUNCTIONS))  # noqa: S307 - emitted from the white list
        return function


@dataclass(frozen=True, slots=True)
class _Typed:
    """Emitted text with its type; `null` marks the literal None. `if_true`, `if_false`: fields then not null."""

    text: str
    type: FieldType | None
    nullable: bool = False
    if_true: frozenset[str] = _NOTHING
    if_false: frozenset[str] = _NOTHING
    field: str | None = None


def compile_expression(source: str, schema: Schema, non_null: frozenset[str] = _NOTHING) -> Expression:
    """Compile `source` over rows of `schema`; `non_null` fields are known not to be null.

    Raises ExpressionError with the column and what to write instead.
    """
    if len(source) > SOURCE_MAX_CHARS:
        raise ExpressionError(f"an expression has at most {SOURCE_MAX_CHARS} characters, this has {len(source)}")
    try:
        tree = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        column = (getattr(error, "offset", None) or 1) - 1
        raise ExpressionError(f"{source!r} is not an expression: {error}", column) from error
    count = sum(1 for _ in ast.walk(tree))
    if count > NODES_MAX:
        raise ExpressionError(f"an expression has at most {NODES_MAX} parts, this has {count}: split it over two nodes")
    compiler = _Compiler(schema)
    value = compiler.visit(tree.body, non_null)
    if value.type is None:
        raise ExpressionError("the value is always null", tree.body.col_offset)
    text = value.text[1:-1] if _is_wrapped(value.text) else value.text
    return Expression(source, value.type, value.nullable, frozenset(compiler.fields), value.if_true, text)


def field_expression(schema: Schema, name: str) -> Expression:
    """The value of one field. Raises ExpressionError when there is none of that name."""
    return compile_expression(name, schema)


def _is_wrapped(text: str) -> bool:
    """Whether the first parenthesis closes at the end, so that the outer pair can go."""
    if not text.startswith("("):
        return False
    try:
        inner = ast.parse(text[1:-1].replace(_ROW, "row"), mode="eval")
    except SyntaxError:
        return False
    return not isinstance(inner.body, ast.Tuple)


class _Compiler:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.fields: set[str] = set()

    def visit(self, node: ast.expr, known: frozenset[str]) -> _Typed:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            allowed = "fields, literals, + - * / // %, comparisons, and, or, not, in, if … else, and listed functions"
            raise ExpressionError(
                f"{type(node).__name__} is not part of the language, which has {allowed}", node.col_offset
            )
        typed: _Typed = method(node, known)
        return typed

    def _name(self, node: ast.Name, known: frozenset[str]) -> _Typed:
        found = self._schema.field(node.id)
        if found is None:
            hint = near_name(node.id, self._schema.names, "fields are")
            raise ExpressionError(f"unknown field {node.id!r}: {hint}", node.col_offset)
        self.fields.add(node.id)
        nullable = (found.nullable or found.type is FieldType.JSON) and node.id not in known
        truth = frozenset({node.id})
        return _Typed(f"{_ROW}.{node.id}", found.type, nullable, truth, _NOTHING, node.id)

    def _constant(self, node: ast.Constant, _known: frozenset[str]) -> _Typed:
        value = node.value
        match value:
            case None:
                return _Typed("None", None, True)
            case bool():
                return _Typed(repr(value), FieldType.BOOL)
            case int() if abs(value) < 2**63:
                return _Typed(repr(value), FieldType.INT)
            case float() if value == value and abs(value) != float("inf"):
                return _Typed(repr(value), FieldType.FLOAT)
            case str() if len(value) <= LITERAL_MAX_CHARS and _is_text(value):
                return _Typed(repr(value), FieldType.STR)
        raise ExpressionError(f"literal {str(value)[:40]!r} is not allowed or too large", node.col_offset)

    def _boolop(self, node: ast.BoolOp, known: frozenset[str]) -> _Typed:
        is_and = isinstance(node.op, ast.And)
        parts, learned = [], _NOTHING
        branches: list[frozenset[str]] = []
        for each in node.values:
            part = self._truth(each, known | learned)
            parts.append(part.text)
            branches.append(part.if_true if is_and else part.if_false)
            learned |= branches[-1]
        text = "(" + (" and " if is_and else " or ").join(parts) + ")"
        return _Typed(text, FieldType.BOOL, False, learned if is_and else _NOTHING, _NOTHING if is_and else learned)

    def _truth(self, node: ast.expr, known: frozenset[str]) -> _Typed:
        value = self.visit(node, known)
        if value.type is not FieldType.BOOL:
            raise ExpressionError(
                f"a condition is needed here, this is {_said(value)}: compare it with something", node.col_offset
            )
        if value.nullable:
            raise ExpressionError(_null_remedy(value), node.col_offset)
        return value

    def _unaryop(self, node: ast.UnaryOp, known: frozenset[str]) -> _Typed:
        if isinstance(node.op, ast.Not):
            value = self._truth(node.operand, known)
            return _Typed(f"(not {value.text})", FieldType.BOOL, False, value.if_false, value.if_true)
        if isinstance(node.op, ast.USub | ast.UAdd):
            value = self.visit(node.operand, known)
            self._need(value, _NUMBERS, node.operand)
            return _Typed(f"({'-' if isinstance(node.op, ast.USub) else '+'}{value.text})", value.type)
        raise ExpressionError("~ is not part of the language", node.col_offset)

    def _binop(self, node: ast.BinOp, known: frozenset[str]) -> _Typed:
        symbol = _ARITHMETIC.get(type(node.op))
        if symbol is None:
            raise ExpressionError(
                f"{type(node.op).__name__} is not part of the language: use {' '.join(_ARITHMETIC.values())}",
                node.col_offset,
            )
        left, right = self.visit(node.left, known), self.visit(node.right, known)
        text = f"({left.text} {symbol} {right.text})"
        kinds = (left.type, right.type)
        if symbol == "+" and kinds == (FieldType.STR, FieldType.STR):
            self._need(left, (FieldType.STR,), node.left)
            self._need(right, (FieldType.STR,), node.right)
            return _Typed(text, FieldType.STR)
        if FieldType.TIMESTAMP in kinds and symbol in "+-":
            return self._time_arithmetic(node, left, right, text, symbol)
        self._need(left, _NUMBERS, node.left)
        self._need(right, _NUMBERS, node.right)
        is_float = symbol == "/" or FieldType.FLOAT in kinds
        return _Typed(text, FieldType.FLOAT if is_float else FieldType.INT)

    def _time_arithmetic(self, node: ast.BinOp, left: _Typed, right: _Typed, text: str, symbol: str) -> _Typed:
        """timestamp ± milliseconds is a timestamp; the difference of two is milliseconds."""
        self._need(left, (FieldType.TIMESTAMP,), node.left)
        if symbol == "-" and right.type is FieldType.TIMESTAMP:
            self._need(right, (FieldType.TIMESTAMP,), node.right)
            return _Typed(text, FieldType.INT)
        self._need(right, (FieldType.INT,), node.right)
        return _Typed(text, FieldType.TIMESTAMP)

    def _compare(self, node: ast.Compare, known: frozenset[str]) -> _Typed:
        operands = [node.left, *node.comparators]
        texts, true, false = [], _NOTHING, _NOTHING
        for left, op, right in zip(operands, node.ops, operands[1:], strict=False):
            text, yes, no = self._comparison(left, op, right, known | true)
            texts.append(text)
            true |= yes
            false = no if len(node.ops) == 1 else _NOTHING
        return _Typed("(" + " and ".join(texts) + ")", FieldType.BOOL, False, true, false)

    def _comparison(
        self, left_node: ast.expr, op: ast.cmpop, right_node: ast.expr, known: frozenset[str]
    ) -> tuple[str, frozenset[str], frozenset[str]]:
        """(text, fields not null if true, if false) of one comparison of a chain."""
        left = self.visit(left_node, known)
        if isinstance(op, ast.In | ast.NotIn):
            return self._membership(left, op, right_node, known), _NOTHING, _NOTHING
        right = self.visit(right_node, known)
        is_null_test = left.type is None or right.type is None
        if isinstance(op, ast.Is | ast.IsNot) or is_null_test:
            return self._null_test(left, op, right, left_node)
        symbol = _ORDERINGS[type(op)]
        both = frozenset(v.field for v in (left, right) if v.field is not None and isinstance(op, ast.Eq))
        if symbol in ("==", "!="):
            self._comparable(left, right, left_node)
            # Of two nullable sides both may be null, so equality tells nothing then.
            return (
                f"{left.text} {symbol} {right.text}",
                _NOTHING if left.nullable and right.nullable else both,
                _NOTHING,
            )
        self._need(left, _ORDERED, left_node)
        self._need(right, _ORDERED, right_node)
        self._comparable(left, right, left_node)
        return f"{left.text} {symbol} {right.text}", _NOTHING, _NOTHING

    def _null_test(
        self, left: _Typed, op: ast.cmpop, right: _Typed, node: ast.expr
    ) -> tuple[str, frozenset[str], frozenset[str]]:
        if (left.type is None) == (right.type is None) or not isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
            raise ExpressionError(
                "`is` is only for null tests: write `field is None` or `field is not None`", node.col_offset
            )
        value = right if left.type is None else left
        fields = frozenset({value.field} if value.field is not None else ())
        if isinstance(op, ast.Is | ast.Eq):
            return f"{value.text} is None", _NOTHING, fields
        return f"{value.text} is not None", fields, _NOTHING

    def _membership(self, left: _Typed, op: ast.cmpop, node: ast.expr, known: frozenset[str]) -> str:
        if not isinstance(node, ast.Tuple | ast.List | ast.Set) or not 0 < len(node.elts) <= LITERALS_MAX:
            raise ExpressionError(
                f"`in` takes a list of 1 to {LITERALS_MAX} literals, such as kind in ('a', 'b')", node.col_offset
            )
        texts = []
        for element in node.elts:
            value = self.visit(element, known)
            if value.text.startswith(_ROW) or not isinstance(element, ast.Constant | ast.UnaryOp):
                raise ExpressionError("`in` takes literals only", element.col_offset)
            if value.type is not None:
                self._comparable(left, value, element)
            texts.append(value.text)
        return f"{left.text} {'in' if isinstance(op, ast.In) else 'not in'} ({', '.join(texts)},)"

    def _ifexp(self, node: ast.IfExp, known: frozenset[str]) -> _Typed:
        test = self._truth(node.test, known)
        yes = self.visit(node.body, known | test.if_true)
        no = self.visit(node.orelse, known | test.if_false)
        kind = _common(yes, no)
        if kind is None and (yes.type is not None or no.type is not None):
            raise ExpressionError(
                f"both results need one type, these are {_said(yes)} and {_said(no)}", node.col_offset
            )
        return _Typed(f"({yes.text} if {test.text} else {no.text})", kind, yes.nullable or no.nullable)

    def _call(self, node: ast.Call, known: frozenset[str]) -> _Typed:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise ExpressionError("only listed functions can be called, with positional arguments", node.col_offset)
        name = node.func.id
        if name == "coalesce":
            return self._coalesce(node, known)
        function = CATALOGUE.get(name)
        if function is None:
            near = get_close_matches(name, [*CATALOGUE, "coalesce"], 1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"functions are {', '.join(sorted([*CATALOGUE, 'coalesce']))}"
            )
            raise ExpressionError(f"unknown function {name!r}: {hint}", node.col_offset)
        needed, given = len(function.arguments), len(node.args)
        if given < needed or (given > needed and not function.repeats):
            raise ExpressionError(f"{name} takes {needed} arguments, {given} were given", node.col_offset)
        values = [self.visit(argument, known) for argument in node.args]
        for place, (value, argument) in enumerate(zip(values, node.args, strict=True)):
            may_be_null = function.takes_null and place == 0
            given_value = replace(value, nullable=False) if may_be_null else value
            self._need(given_value, tuple(function.arguments[min(place, needed - 1)]), argument)
        kind = function.result or values[0].type
        if name in ("min", "max") and all(value.type is FieldType.INT for value in values):
            kind = FieldType.INT
        return _Typed(f"{name}({', '.join(value.text for value in values)})", kind, function.nullable)

    def _coalesce(self, node: ast.Call, known: frozenset[str]) -> _Typed:
        """coalesce(a, b): a unless it is null, then b."""
        if len(node.args) != 2:
            raise ExpressionError("coalesce takes 2 arguments", node.col_offset)
        first, second = (self.visit(argument, known) for argument in node.args)
        kind = _common(first, second)
        if kind is None:
            raise ExpressionError(
                f"coalesce needs one type, these are {_said(first)} and {_said(second)}", node.col_offset
            )
        if not first.nullable:
            return first
        return _Typed(f"({first.text} if {first.text} is not None else {second.text})", kind, second.nullable)

    def _need(self, value: _Typed, kinds: tuple[FieldType, ...], node: ast.expr) -> None:
        if value.type not in kinds:
            wanted = " or ".join(sorted(kinds))
            raise ExpressionError(f"{wanted} is needed here, this is {_said(value)}", node.col_offset)
        if value.nullable:
            raise ExpressionError(_null_remedy(value), node.col_offset)

    @staticmethod
    def _comparable(left: _Typed, right: _Typed, node: ast.expr) -> None:
        numeric = (*_NUMBERS, FieldType.TIMESTAMP)
        if left.type is right.type or FieldType.JSON in (left.type, right.type):
            return
        if left.type in numeric and right.type in numeric:
            return
        raise ExpressionError(f"{_said(left)} and {_said(right)} cannot be compared", node.col_offset)


def _is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: half of a surrogate pair it cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _common(left: _Typed, right: _Typed) -> FieldType | None:
    if left.type is None or right.type is None or left.type is right.type:
        return left.type or right.type
    if left.type in _NUMBERS and right.type in _NUMBERS:
        return FieldType.FLOAT
    return None


def _said(value: _Typed) -> str:
    return "null" if value.type is None else value.type.value


def _null_remedy(value: _Typed) -> str:
    name = value.field or "the value"
    return f"{name} may be null here: test `{name} is not None and …` first, or use coalesce({name}, …)"
