"""The demo's check is independent, and finds what differs."""

import ast
import sys
from pathlib import Path
from typing import Any

from streamflow.cli import delays


def test_it_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(delays.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_what_differs_is_named() -> None:
    expected = {("UA", 0): (2, 6.0, 5.0), ("AA", 0): (1, 1.0, 1.0)}

    def row(key: str, departures: int, mean: float, worst: float) -> dict[str, Any]:
        return {"key": key, "start": 0, "value": {"departures": departures, "mean_delay": mean, "worst": worst}}

    good = [row("UA", 2, 3.0, 5.0), row("AA", 1, 1.0, 1.0)]
    assert delays.differences(good, expected) == []
    assert len(delays.differences(good[:1], expected)) == 1
    assert len(delays.differences([*good, row("B6", 1, 1.0, 1.0)], expected)) == 1
    assert len(delays.differences([*good, good[0]], expected)) == 1
    for wrong in (row("UA", 3, 3.0, 5.0), row("UA", 2, 3.5, 5.0), row("UA", 2, 3.0, 6.0)):
        assert len(delays.differences([wrong, good[1]], expected)) == 1
