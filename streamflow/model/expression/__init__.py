"""Expressions of a topology: `value > 10 and kind == "temp"`, checked and compiled (decision D14)."""

from streamflow.model.expression.compiler import Expression, compile_expression, field_expression
from streamflow.model.expression.functions import FUNCTIONS

__all__ = ["FUNCTIONS", "Expression", "compile_expression", "field_expression"]
