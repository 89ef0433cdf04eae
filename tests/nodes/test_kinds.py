"""The contract that every node kind keeps; a new kind is tested by being registered."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from streamflow.errors import InternalError
from streamflow.nodes.filter import Filter
from streamflow.nodes.kind import NodeKind
from streamflow.nodes.registry import KINDS, by_name, checked, near_kinds
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
        "process", "python", "wasm", "deduplicate", "rate_limit",
        "global_table", "lookup", "branch", "flat_map", "mask", "cast", "sample", "normalize", "normalize_running", "normalize_window",
        "accept", "alert", "anomaly", "http_request", "enrich", "webhook", "delay", "model", "approval",
        "file_sink", "sql_sink", "store_payload", "fetch_payload",
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


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"icon": "/etc/passwd"}, "has icon '/etc/passwd'"),
        ({"icon": "javascript:alert(1)"}, "use a word, a relative path or http"),
        ({"modes": ("threads",)}, "use some of sync, async, batch, streaming"),
        ({"version": "2"}, "write one such as 1.0.0"),
    ],
)
def test_metadata_that_cannot_be_is_refused_when_the_kind_is_registered(what: dict[str, Any], said: str) -> None:
    with pytest.raises(InternalError, match=re.escape(said)):
        checked(type("Stray", (Filter,), {"kind": "stray", **what}))


def test_unknown_kinds_are_told_the_nearest() -> None:
    """Or all of them when none is near."""
    assert near_kinds("windo") == "did you mean window?"
    assert near_kinds("quux").startswith("kinds are accept, alert, anomaly, approval, branch, cast, ")
