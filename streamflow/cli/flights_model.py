"""What the tables of the flights topology must hold, computed in plain loops over the same data.

It imports nothing of streamflow, so that the demo compares two computations and not one with itself. Times in ms.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

HOUR_MS = 3_600_000

Departure = Mapping[str, Any]
#: Name by code: of airlines, of airports.
Names = Mapping[str, str]
#: (key, start, end) → values
Expected = dict[tuple[str, int, int], dict[str, float]]


def hourly_delays(departures: Iterable[Departure], _airlines: Names, _airports: Names) -> Expected:
    """Per carrier and hour."""
    placed = []
    for each in _flown(departures):
        start = each["time"] // HOUR_MS * HOUR_MS
        placed.append((each["carrier"], (start, start + HOUR_MS), each))
    windows = _gather(placed)
    return {window: _delays(rows) | {"worst": _worst(rows)} for window, rows in windows.items()}


def destination_traffic(departures: Iterable[Departure], _airlines: Names, airports: Names) -> Expected:
    """Per destination, over a day, every half of a day. Some destinations have no row in the table of airports."""
    placed = []
    for each in _flown(departures):
        key = airports.get(each["dest"], each["dest"])
        latest = each["time"] // (12 * HOUR_MS) * 12 * HOUR_MS
        placed += [(key, (start, start + 24 * HOUR_MS), each) for start in (latest, latest - 12 * HOUR_MS)]
    windows = _gather(placed)
    return {
        window: _delays(rows) | {"farthest": max(each["distance"] for each in rows)} for window, rows in windows.items()
    }


def airline_days(departures: Iterable[Departure], airlines: Names, _airports: Names) -> Expected:
    """Per airline, as long as departures follow each other within less than three hours."""
    by_airline: dict[str, list[Departure]] = {}
    for each in sorted(_flown(departures), key=lambda each: each["time"]):
        by_airline.setdefault(airlines.get(each["carrier"], each["carrier"]), []).append(each)
    expected: Expected = {}
    for airline, rows in by_airline.items():
        begin = 0
        for place in range(1, len(rows) + 1):
            if place == len(rows) or rows[place]["time"] - rows[place - 1]["time"] >= 3 * HOUR_MS:
                day = rows[begin:place]
                window = (airline, day[0]["time"], day[-1]["time"] + 3 * HOUR_MS)
                expected[window] = _delays(day) | {"worst": _worst(day)}
                begin = place
    return expected


#: Every table of the topology with its computation.
TABLES: dict[str, Callable[[Iterable[Departure], Names, Names], Expected]] = {
    "hourly_delays": hourly_delays,
    "destination_traffic": destination_traffic,
    "airline_days": airline_days,
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
    found = {row["key"]: row["value"]["name"] for row in rows}
    return sorted(f"{key}: {found.get(key)} instead of {names.get(key)}" for key, _ in found.items() ^ names.items())


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
