"""What keys that are parked need: a table per entry that parks, and a topic by which they are let go."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from streamflow.model.parking import RELEASE, parked_schema
from streamflow.plan.plan import Entry, EntryKind, ParkedKeys, TablePlan
from streamflow.topology.names import changelog_topic, parked_table, releases_topic
from streamflow.topology.spec import ParkingSpec

#: Raised with the bytes of the table.
_LAYOUT = "parked keys 1"


def with_parking(
    topology: str, entries: tuple[Entry, ...], parking: Mapping[str, ParkingSpec]
) -> tuple[tuple[Entry, ...], tuple[TablePlan, ...]]:
    """The entries of a stage, those of releases behind them, and the tables of those that park."""
    found: list[Entry] = []
    releases: list[Entry] = []
    tables: list[TablePlan] = []
    for entry in entries:
        declared = parking.get(entry.node)
        if declared is None or entry.key is None:
            found.append(entry)
            continue
        table = parked_table(entry.node)
        parks = ParkedKeys(table, declared.max_keys, declared.max_waiting, declared.time == "release")
        found.append(replace(entry, parks=parks))
        topic, name = releases_topic(topology, entry.node), f"{entry.node}.releases"
        releases.append(Entry(topic, name, EntryKind.DECISIONS, RELEASE, None, event_time="at", releases=entry.node))
        layout = hashlib.sha256(f"{_LAYOUT} {entry.key.type}".encode()).hexdigest()[:16]
        tables.append(
            TablePlan(
                name=table,
                node=entry.node,
                changelog_topic=changelog_topic(topology, table),
                layout=layout,
                row_schema=parked_schema(entry.key.type),
                key_name="key",
            )
        )
    return (*found, *releases), tuple(tables)
