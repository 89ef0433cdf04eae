"""Configurations that were written for older versions of a kind."""

from collections.abc import Iterator
from typing import Any

import pytest

from streamflow.errors import TopologyError
from streamflow.nodes.registry import KINDS
from streamflow.nodes.threshold import Threshold
from streamflow.topology.document import spec_of


def _named(old: dict[str, Any]) -> dict[str, Any]:
    """Version 1 called the field `column`."""
    return {"field": old.pop("column"), **old}


def _sided(old: dict[str, Any]) -> dict[str, Any]:
    """Version 2 said `over: true` or `over: false`."""
    return {"when": "above" if old.pop("over", True) else "below", **old}


class Limit(Threshold):
    """A threshold at its third version."""

    kind = "limit"
    version = "3.1.0"
    migrations = {1: _named, 2: _sided}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with KINDS.lent(Limit):
        yield


def _spec(kind: str, **config: Any) -> dict[str, Any]:
    nodes = {
        "readings": {"kind": "source", "topic": "readings", "schema": "R"},
        "high": {"kind": kind, "input": "readings", **config},
        "out": {"kind": "sink", "input": "high", "topic": "out"},
    }
    return {"topology": "t", "schemas": {"R": {"value": "float"}}, "nodes": nodes}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("limit@1", {"column": "value", "limit": 3, "over": False}),
        ("limit@2", {"field": "value", "limit": 3, "over": False}),
        ("limit@3", {"field": "value", "limit": 3, "when": "below"}),
        ("limit", {"field": "value", "limit": 3, "when": "below"}),
    ],
)
def test_every_version_means_the_same(kind: str, config: dict[str, Any]) -> None:
    node = spec_of(_spec(kind, **config)).node("high")
    assert node is not None
    assert (node.kind, node.config) == ("limit", {"field": "value", "limit": 3, "when": "below"})


@pytest.mark.parametrize(
    ("kind", "config", "told"),
    [
        ("limit@4", {"field": "value", "limit": 3}, "limit has version 3.1.0, 4 is not known"),
        ("limit@x", {"field": "value", "limit": 3}, "'x' is no version (write limit, or limit@1 for its version 1)"),
        ("limit@1", {"limit": 3}, "cannot be brought from version 1 to 2: KeyError: 'column'"),
        ("nothing@1", {}, "unknown kind 'nothing'"),
    ],
)
def test_what_cannot_be_read_is_told(kind: str, config: dict[str, Any], told: str) -> None:
    with pytest.raises(TopologyError) as refused:
        spec_of(_spec(kind, **config))
    assert any(told in str(problem) and problem.place == "nodes.high.kind" for problem in refused.value.problems)


def test_a_version_that_cannot_be_read_any_more_is_told() -> None:
    class Later(Limit):
        """Has forgotten version 1."""

        kind = "later"
        migrations = {2: _sided}

    with KINDS.lent(Later), pytest.raises(TopologyError, match="cannot read configurations of version 1 any more"):
        spec_of(_spec("later@1", column="value", limit=3))
