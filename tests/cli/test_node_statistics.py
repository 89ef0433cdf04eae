"""When a node last had rows, by what was committed and how often somebody asks."""

from types import SimpleNamespace

import pytest

from streamflow.cli import node_statistics
from streamflow.cli.node_statistics import NodeStatistics


def test_rows_that_are_asked_for_before_their_commit_are_those_of_that_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(node_statistics, "time", SimpleNamespace(time=lambda: now.s))
    statistics = NodeStatistics({})

    def asked(at_s: float, rows_in: int) -> float | None:
        now.s = at_s
        return statistics.last_s("stage", "node", rows_in)

    def committed(at_s: float) -> None:
        now.s = at_s
        statistics.committed("stage", 5)

    assert asked(90, 0) is None
    committed(100)
    assert asked(110, 5) == 100
    assert asked(500, 8) == 100, "they are on their way"
    committed(501)
    assert asked(510, 8) == 501
    committed(600)
    assert asked(610, 8) == 501, "rows of others"
    committed(700)
    assert asked(710, 3) == 501, "a task has gone, nothing came"
    committed(800)
    assert asked(810, 4) == 800
