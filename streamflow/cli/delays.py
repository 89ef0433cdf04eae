"""The demo's check: delays per carrier and hour, computed from the data file in one plain loop.

Independent on purpose: it reads the file by itself and imports nothing of streamflow, so that a fault of ours cannot be
on both sides of the comparison. A test keeps it so.
"""

import csv
import io
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

#: (carrier, start of the hour in ms) → (departures, sum of delays, worst delay)
Delays = dict[tuple[str, int], tuple[int, float, float]]


def compute_delays(archive: Path) -> Delays:
    """Delays of every carrier and scheduled hour; a departure without a delay was cancelled."""
    delays: Delays = {}
    with zipfile.ZipFile(archive) as opened, opened.open(opened.namelist()[0]) as raw:
        for row in csv.DictReader(io.TextIOWrapper(raw)):
            if row["dep_delay"] in ("", "NA"):
                continue
            delay = float(row["dep_delay"])
            # The file says the hour itself, in UTC; windows of the table are cut by the minute of the departure.
            hour = (row["carrier"], int(datetime.fromisoformat(row["time_hour"]).timestamp()) * 1_000)
            count, total, worst = delays.get(hour, (0, 0.0, delay))
            delays[hour] = (count + 1, total + delay, max(worst, delay))
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
