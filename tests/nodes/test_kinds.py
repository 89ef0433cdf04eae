"""The contract that every node kind keeps; a new kind is tested by being registered."""

from collections.abc import Callable

import pytest

from streamflow.errors import InternalError
from streamflow.nodes.filter import Filter
from streamflow.nodes.kind import NodeKind
from streamflow.nodes.registry import KINDS, by_name, near_kinds
from streamflow.testing.compliance import CHECKS


@pytest.mark.parametrize("kind", [type(kind) for kind in KINDS.values()], ids=KINDS)
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_every_kind_keeps_the_contract(check: Callable[[type[NodeKind]], None], kind: type[NodeKind]) -> None:
    """See streamflow.testing.compliance."""
    check(kind)


def test_the_first_kinds_are_all_there() -> None:
    """By the names that topologies use."""
    assert {kind for kind in KINDS if KINDS.is_built_in(kind)} == {
        "source", "sink", "filter", "map", "key_by", "window", "pass_through", "echo", "multiply", "threshold",
        "process", "python", "deduplicate", "rate_limit",
        "global_table", "lookup", "branch", "flat_map", "mask", "cast", "sample", "normalize", "normalize_running", "normalize_window",
        "anomaly", "http_request", "enrich", "webhook", "delay", "model", "approval",
        "file_sink", "sql_sink",
        "join", "table", "table_join", "tables_join", "foreign_join", "combine",
    }  # fmt: skip


def test_a_kind_is_registered_once_and_in_a_category() -> None:
    """A second registration would change what existing topologies mean."""

    class Other(Filter):
        """Takes a name that is taken."""

    class Stray(Filter):
        """Of no category."""

        kind = "stray"
        category = "misc"  # type: ignore[assignment]

    with pytest.raises(InternalError, match="'filter' is registered by Filter already"):
        by_name([Filter, Other])
    with pytest.raises(InternalError, match="has category 'misc'"):
        by_name([Stray])


def test_unknown_kinds_are_told_the_nearest() -> None:
    """Or all of them when none is near."""
    assert near_kinds("windo") == "did you mean window?"
    assert near_kinds("quux").startswith("kinds are anomaly, approval, branch, cast, ")
