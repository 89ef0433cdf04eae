"""The demo's computation: of its own making, equal to the engine on data like the real ones, and able to see mistakes."""

import ast
import inspect
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from streamflow.cli import departures as data
from streamflow.cli import flights_model as model
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.load import load_topology

HOUR_MS = model.HOUR_MS
AIRLINES = [{"carrier": "UA", "name": "United"}, {"carrier": "B6", "name": "JetBlue"}]
AIRPORTS = [{"faa": "IAH", "name": "Houston"}, {"faa": "MIA", "name": "Miami", "zone": "America/New_York"}]
NAMES = {each["carrier"]: each["name"] for each in AIRLINES}, {each["faa"]: each["name"] for each in AIRPORTS}


def _departures(seed: int) -> list[dict[str, Any]]:
    chance, time_ms, found = random.Random(seed), 400 * 24 * HOUR_MS, []
    for _ in range(600):
        # Mostly minutes apart; now and then the silence of a night, of exactly three hours too.
        time_ms += chance.choice([0, 5, 20, 40, 60, *([179, 180, 181, 400] if chance.random() < 0.3 else [])]) * 60_000
        found.append(
            {
                "time": time_ms,
                "carrier": chance.choice(["UA", "B6", "ZZ"]),
                "origin": chance.choice(["EWR", "JFK", "LGA"]),
                "dest": chance.choice(["IAH", "MIA", "SJU"]),
                "dep_delay": chance.choice([None, -3.0, 0.0, 12.0, 95.0]),
                "distance": chance.choice([200, 1400]),
            }
        )
    # Cancelled ones, two days later, let every window end.
    last = {**found[-1], "time": time_ms + 48 * HOUR_MS, "dep_delay": None}
    return [*found, *({**last, "origin": origin} for origin in ("EWR", "JFK", "LGA"))]


def _rows(driver: Driver, table: str) -> list[dict[str, Any]]:
    ends = {"hourly_delays": HOUR_MS, "destination_traffic": 24 * HOUR_MS}
    if table in ends:
        return [
            {"key": key, "start": start, "end": start + ends[table], "value": value}
            for (key, start), value in driver.table(table).items()
        ]
    values = {(row["airline"], row["start"]): row for row in driver.output("flights.airline_days")}
    assert values.keys() == driver.table(table).keys()
    return [
        {"key": key, "start": start, "end": values[key, start]["end"], "value": value}
        for (key, start), value in driver.table(table).items()
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_topology_gives_what_the_model_says(root: Path, seed: int) -> None:
    """Unknown carriers and airports keep their codes; one table after the other differs when a value is changed."""
    driver, departures = (
        Driver(make_plan(load_topology(root / "topologies" / "flights")), partitions=2),
        _departures(seed),
    )
    driver.now_ms = departures[-1]["time"]
    driver.publish("flights.carriers", AIRLINES)
    driver.publish("flights.airports", AIRPORTS)
    driver.publish("flights.departures", departures)
    driver.run()
    driver.idle()
    assert driver.dead_letters() == []
    assert {name: row["name"] for name, row in driver.table("airports").items()} == NAMES[1]
    for table, compute in model.TABLES.items():
        expected = compute(departures, *NAMES)
        assert len(expected) > 20
        rows = _rows(driver, table)
        assert model.differences(rows, expected) == []
        changed = {**rows[0], "value": {**rows[0]["value"], "departures": -1}}
        assert len(model.differences([changed, *rows[1:]], expected)) == 1
        assert len(model.differences(rows[1:], expected)) == 1
        assert len(model.differences([*rows, rows[0]], expected)) == 1


def test_the_model_imports_nothing_of_the_product() -> None:
    """Else a mistake could be made twice and agree with itself."""
    tree = ast.parse(inspect.getsource(model))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert imported
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


def test_the_names_are_all_there() -> None:
    """As the package has them; some destinations have no airport."""
    assert (len(data.read_airlines()), len(data.read_airports())) == (16, 1_458)
    airports = {each["faa"]: each["name"] for each in data.read_airports()}
    assert len(airports) == 1_458
    assert {"JFK", "EWR", "LGA", "IAH"} <= airports.keys()
    assert "SJU" not in airports
    shown = [{"key": faa, "value": {"name": name}} for faa, name in airports.items()]
    assert model.name_differences(shown, airports) == []
    assert len(model.name_differences(shown[1:], airports)) == 1
