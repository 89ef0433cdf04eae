"""The demo's computation: of its own making, equal to the engine on data like the real ones, and able to see mistakes."""

import ast
import csv
import inspect
import random
import sys
from datetime import datetime
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
MEASURED = ("temp", "wind_speed", "precip", "visib")


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


def _reports(seed: int, departures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """About every hour, with gaps; the last ones, without a measurement, say that there is no more."""
    chance, time_ms, found = random.Random(seed), departures[0]["time"], []
    while time_ms < departures[-4]["time"]:
        for origin in chance.sample(["EWR", "JFK", "LGA"], chance.choice([1, 3, 3])):
            wind, precip = chance.choice([None, 5.0, 20.0, 1048.4]), chance.choice([None, 0.0, 0.0, 0.0, 0.2])
            temp, visib = chance.choice([None, 30.0, 34.0]), chance.choice([None, 1.0, 5.0, 10.0, 10.0])
            measured = dict(zip(MEASURED, (temp, wind, precip, visib), strict=True))
            found.append({"origin": origin, "reported": time_ms + chance.choice([0, 60_000])} | measured)
        time_ms += chance.choice([1, 1, 1, 2, 3]) * HOUR_MS
    found.sort(key=lambda each: each["reported"])
    return found + [{"origin": origin, "reported": departures[-1]["time"]} for origin in ("EWR", "JFK", "LGA")]


def _weather(reports: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in reports:
        found.setdefault(each["origin"], []).append({name: each.get(name) for name in ("reported", *MEASURED)})
    return found


def _rows(driver: Driver, table: str) -> list[dict[str, Any]]:
    ends = {"hourly_delays": HOUR_MS, "destination_traffic": 24 * HOUR_MS, "weather_delays": 24 * HOUR_MS}
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
    """Unknown carriers and airports keep their codes; one table after the other differs when a value is changed.

    Weather comes before departures, behind them, and in parts: what is read first does not matter.
    """
    driver, departures = (
        Driver(make_plan(load_topology(root / "topologies" / "flights")), partitions=2, chunk_size=100),
        _departures(seed),
    )
    reports = _reports(seed, departures)
    known = model.Data(departures, *NAMES, _weather(reports))
    driver.now_ms = departures[-1]["time"]
    driver.publish("flights.carriers", AIRLINES)
    driver.publish("flights.airports", AIRPORTS)
    first = len(reports) * seed // 2
    driver.publish("flights.weather", reports[:first])
    driver.run()
    driver.publish("flights.departures", departures)
    driver.run()
    driver.publish("flights.weather", reports[first:])
    driver.run()
    assert driver.dead_letters() == []
    assert driver.table("weathered") == {}
    assert {name: row["name"] for name, row in driver.table("airports").items()} == NAMES[1]
    weather = [{"key": origin, "value": row} for origin, row in driver.table("weather").items()]
    assert model.weather_differences(weather, known.weather) == []
    assert len(model.weather_differences(weather[1:], known.weather)) == 1
    skies = {key for key, _, _ in model.weather_delays(known)}
    assert skies == {"fair", "wind", "fog", "rain", "snow", "unknown"}
    for table, compute in model.TABLES.items():
        expected = compute(known)
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


def test_both_read_the_same_data() -> None:
    """The events that are published, and the model's own reading of the files; some destinations have no airport."""
    folder = data.data_folder()
    known, events = model.read_data(folder), data.read_events(folder)
    assert len(events.departures) == len(known.departures) == 336_776
    fields = ("time", "carrier", "origin", "dest", "dep_delay", "distance")
    assert sorted(map(repr, ([each[f] for f in fields] for each in events.departures))) == sorted(
        map(repr, ([each[f] for f in fields] for each in known.departures))
    )
    assert {each["carrier"]: each["name"] for each in events.airlines} == known.airlines
    assert {each["faa"]: each["name"] for each in events.airports} == known.airports
    assert (len(known.airlines), len(known.airports)) == (16, 1_458)
    assert {each["dest"] for each in known.departures} - known.airports.keys() == {"BQN", "PSE", "SJU", "STT"}
    days = model.airline_days(known).values()
    assert max(each["departures"] for each in days) <= 1_000, "percentiles are exact up to there"
    shown = [{"key": faa, "value": {"name": name}} for faa, name in known.airports.items()]
    assert model.name_differences(shown, known.airports) == []
    assert len(model.name_differences(shown[1:], known.airports)) == 1


def test_weather_is_read_by_the_hours_of_utc() -> None:
    """Every airport's report of an hour once, at that hour of New York; the hour that came twice is two."""
    folder = data.data_folder()
    reports, weather = data.read_weather(folder), model.read_data(folder).weather
    assert len(reports) == 26_115
    assert _weather(reports) == weather
    with (folder / "weather.csv").open(newline="") as file:
        local = {tuple(row[name] for name in ("origin", "month", "day", "hour")) for row in csv.DictReader(file)}
    assert len({(each["origin"], each["reported"]) for each in reports}) == len(reports) == len(local) + 3
    places = [(each["origin"], datetime.fromtimestamp(each["reported"] / 1_000, model.NEW_YORK)) for each in reports]
    assert {(origin, str(at.month), str(at.day), str(at.hour)) for origin, at in places} == local
    assert [at.fold for _, at in places if (at.month, at.day, at.hour) == (11, 3, 1)] == [0, 0, 0, 1, 1, 1]
    topology = Path(__file__).parents[2] / "topologies" / "flights"
    versions = [each.config for each in load_topology(topology).nodes if each.name == "weather"]
    assert max(map(len, weather.values())) <= versions[0]["versions"], "a year of them is published at once"


def test_the_year_is_closed_behind_everything() -> None:
    """The last events are cancelled departures and reports without a measurement, one of every airport."""
    events = data.read_events(data.data_folder())
    reports, departures = data.closing(events)
    assert {each["origin"] for each in reports} == {each["origin"] for each in departures} == {"EWR", "JFK", "LGA"}
    assert {each["dep_delay"] for each in departures} == {None}
    last = max(end for _, _, end in model.destination_traffic(model.Data(events.departures[-1_000:], *NAMES, {})))
    assert min(each["time"] for each in departures) - 2 * HOUR_MS >= last
    assert min(each["reported"] for each in reports) - HOUR_MS >= last
