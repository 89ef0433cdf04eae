"""The demo's check: what the tables of the flights topology must hold, computed in plain loops. Times in ms.

Independent on purpose: it reads the data files by itself and imports nothing of streamflow, so that a fault of ours
cannot be on both sides of the comparison. A test keeps it so.
"""

import csv
import io
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

HOUR_MS = 3_600_000

NEW_YORK = ZoneInfo("America/New_York")

Departure = Mapping[str, Any]
#: Name by code: of airlines, of airports.
Names = Mapping[str, str]
#: A weather report: reported, temp, wind_speed, precip, visib; None where it was not measured.
Report = Mapping[str, Any]
#: (key, start, end) → values
Expected = dict[tuple[str, int, int], dict[str, float]]


class Data(NamedTuple):
    """What is published. Reports by airport, in order of their time."""

    departures: Sequence[Departure]
    airlines: Names
    airports: Names
    weather: Mapping[str, Sequence[Report]]


def read_data(folder: Path) -> Data:
    """From the files."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as opened, opened.open(opened.namelist()[0]) as raw:
        departures = [_departure(row) for row in csv.DictReader(io.TextIOWrapper(raw))]
    airlines, airports = _names(folder / "airlines.csv", "carrier"), _names(folder / "airports.csv", "faa")
    return Data(departures, airlines, airports, _weather(folder / "weather.csv"))


def _departure(row: dict[str, str]) -> Departure:
    hour_ms = int(datetime.fromisoformat(row["time_hour"]).timestamp()) * 1_000
    return {
        "time": hour_ms + int(float(row["minute"])) * 60_000,
        "carrier": row["carrier"],
        "origin": row["origin"],
        "dest": row["dest"],
        "dep_delay": None if row["dep_delay"] in ("", "NA") else float(row["dep_delay"]),
        "distance": int(float(row["distance"])),
    }


def _names(file: Path, key: str) -> Names:
    with file.open(newline="", encoding="utf-8") as lines:
        return {row[key]: row["name"] for row in csv.DictReader(lines)}


def _weather(file: Path) -> dict[str, list[Report]]:
    """An hour is that of UTC; the local one came twice on 3 November."""
    reports: dict[str, list[Report]] = {}
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            report: dict[str, Any] = {"reported": int(datetime.fromisoformat(row["time_hour"]).timestamp()) * 1_000}
            for name in ("temp", "wind_speed", "precip", "visib"):
                report[name] = None if row[name] in ("", "NA") else float(row[name])
            reports.setdefault(row["origin"], []).append(report)
    return {origin: sorted(each, key=lambda report: report["reported"]) for origin, each in reports.items()}


def hourly_delays(data: Data) -> Expected:
    """Per carrier and hour."""
    placed = []
    for each in _flown(data.departures):
        start = each["time"] // HOUR_MS * HOUR_MS
        placed.append((each["carrier"], (start, start + HOUR_MS), each))
    windows = _gather(placed)
    return {window: _delays(rows) | {"worst": _worst(rows)} for window, rows in windows.items()}


def destination_traffic(data: Data) -> Expected:
    """Per destination, over a day, every half of a day. Some destinations have no row in the table of airports."""
    placed = []
    for each in _flown(data.departures):
        key = data.airports.get(each["dest"], each["dest"])
        latest = each["time"] // (12 * HOUR_MS) * 12 * HOUR_MS
        placed += [(key, (start, start + 24 * HOUR_MS), each) for start in (latest, latest - 12 * HOUR_MS)]
    windows = _gather(placed)
    return {
        window: _delays(rows) | {"farthest": max(each["distance"] for each in rows)} for window, rows in windows.items()
    }


def airline_days(data: Data) -> Expected:
    """Per airline, as long as departures follow each other within less than three hours."""
    by_airline: dict[str, list[Departure]] = {}
    for each in sorted(_flown(data.departures), key=lambda each: each["time"]):
        by_airline.setdefault(data.airlines.get(each["carrier"], each["carrier"]), []).append(each)
    expected: Expected = {}
    for airline, rows in by_airline.items():
        begin = 0
        for place in range(1, len(rows) + 1):
            if place == len(rows) or rows[place]["time"] - rows[place - 1]["time"] >= 3 * HOUR_MS:
                day = rows[begin:place]
                window = (airline, day[0]["time"], day[-1]["time"] + 3 * HOUR_MS)
                expected[window] = _delays(day) | {"worst": _worst(day), "p90": _p90(day)}
                begin = place
    return expected


def weather_delays(data: Data) -> Expected:
    """Per weather and day of New York. The weather is the last report at or before the departure."""
    times = {origin: [report["reported"] for report in reports] for origin, reports in data.weather.items()}
    placed = []
    for each in _flown(data.departures):
        origin, time = each["origin"], each["time"]
        place = bisect_right(times.get(origin, []), time)
        known = place and time - times[origin][place - 1] < 2 * HOUR_MS
        key = _sky(data.weather[origin][place - 1]) if known else "unknown"
        placed.append((key, _day(time // HOUR_MS), each))
    windows = _gather(placed)
    return {window: _delays(rows) | {"worst": _worst(rows)} for window, rows in windows.items()}


def _sky(report: Report) -> str:
    if report["precip"] is None or report["visib"] is None:
        return "unknown"
    if report["precip"] > 0:
        return "snow" if report["temp"] is not None and report["temp"] < 34 else "rain"
    if report["visib"] < 5:
        return "fog"
    wind = report["wind_speed"]
    return "wind" if wind is not None and 20 <= wind < 100 else "fair"


@cache
def _day(hour: int) -> tuple[int, int]:
    """Start and end of the day of New York that holds an hour since the epoch."""
    moment = datetime.fromtimestamp(hour * 3_600, UTC).astimezone(NEW_YORK)
    midnight = datetime(moment.year, moment.month, moment.day, tzinfo=NEW_YORK)
    # Added to local time: the day may have 23 or 25 hours.
    return int(midnight.timestamp()) * 1_000, int((midnight + timedelta(days=1)).timestamp()) * 1_000


#: Every windowed table of the topology with its computation.
TABLES: dict[str, Callable[[Data], Expected]] = {
    "hourly_delays": hourly_delays,
    "destination_traffic": destination_traffic,
    "airline_days": airline_days,
    "weather_delays": weather_delays,
}


def differences(rows: Iterable[Mapping[str, Any]], expected: Expected) -> list[str]:
    """What a table's rows have otherwise than the computation; empty when all windows are equal.

    Delays are whole minutes, so sums are exact and only the division may round; it is the same division.
    """
    found = {}
    wrong = []
    for row in rows:
        window = (row["key"], row["start"], row["end"])
        if window in found:
            wrong.append(f"{window}: came twice")
        found[window] = row["value"]
    wrong += [f"{window}: missing" for window in expected.keys() - found.keys()]
    wrong += [f"{window}: unexpected" for window in found.keys() - expected.keys()]
    both = expected.keys() & found.keys()
    wrong += [f"{each}: {found[each]} instead of {expected[each]}" for each in both if found[each] != expected[each]]
    return sorted(wrong)


def name_differences(rows: Iterable[Mapping[str, Any]], names: Names) -> list[str]:
    """The same for a global table, whose rows have a name by key."""
    return _by_key({row["key"]: row["value"]["name"] for row in rows}, names)


def weather_differences(rows: Iterable[Mapping[str, Any]], weather: Mapping[str, Sequence[Report]]) -> list[str]:
    """The same for the table of weather, which shows the last report of every airport."""
    expected = {origin: {"origin": origin, **reports[-1]} for origin, reports in weather.items()}
    return _by_key({row["key"]: row["value"] for row in rows}, expected)


def _by_key(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    wrong = {key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)}
    return sorted(f"{key}: {found.get(key)} instead of {expected.get(key)}" for key in wrong)


def _flown(departures: Iterable[Departure]) -> list[Departure]:
    return [each for each in departures if each["dep_delay"] is not None]


def _gather(
    placed: Iterable[tuple[str, tuple[int, int], Departure]],
) -> dict[tuple[str, int, int], list[Departure]]:
    windows: dict[tuple[str, int, int], list[Departure]] = {}
    for key, (start, end), each in placed:
        windows.setdefault((key, start, end), []).append(each)
    return windows


def _delays(rows: list[Departure]) -> dict[str, float]:
    return {"departures": len(rows), "mean_delay": sum(each["dep_delay"] for each in rows) / len(rows)}


def _worst(rows: list[Departure]) -> float:
    return float(max(each["dep_delay"] for each in rows))


def _p90(rows: list[Departure]) -> float:
    """Of the sorted delays the one nine tenths up, rounded down. No day has so many that a sketch would answer."""
    return float(sorted(each["dep_delay"] for each in rows)[(len(rows) - 1) * 9 // 10])
