"""The topology `basics`, driven in process: every basic node does what its README says, in every shape of the run."""

from pathlib import Path
from typing import Any

import pytest

from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.load import load_topology

READINGS: list[dict[str, Any]] = [
    {"time": "2026-01-01T00:00:00Z", "sensor": "kitchen", "celsius": 41.5},
    {"time": "2026-01-01T00:00:01Z", "sensor": "cellar", "celsius": 10},
    {"time": "2026-01-01T00:00:02Z", "sensor": "kitchen"},
    {"time": "2026-01-01T00:00:03Z", "sensor": "kitchen", "celsius": 37.5},
    {"time": "2026-01-01T00:00:04Z", "sensor": "cellar", "celsius": 40},
]
MIDNIGHT_MS = 1_767_225_600_000


def judged(second: int, sensor: str, number: int, fahrenheit: int, level: str) -> dict[str, Any]:
    """A result row."""
    time = MIDNIGHT_MS + 1_000 * second
    return {"time": time, "sensor": sensor, "number": number, "fahrenheit": fahrenheit, "level": level}


#: 41.5 °C = 106.7 °F, 10 °C = 50 °F, 37.5 °C = 99.5 °F which rounds to 100 (half to even), 40 °C = 104 °F.
EXPECTED = [
    judged(0, "kitchen", 1, 107, "alarm"),
    judged(1, "cellar", 1, 50, "normal"),
    judged(3, "kitchen", 3, 100, "alarm"),
    judged(4, "cellar", 2, 104, "alarm"),
]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 2, 100])
@pytest.mark.parametrize("crash", [None, *CrashPoint])
def test_readings_are_counted_converted_and_judged(
    root: Path, fused: bool, chunk_size: int, crash: CrashPoint | None
) -> None:
    """Counts go on after a crash; a reading without a value is counted and goes no further."""
    plan = make_plan(load_topology(root / "topologies" / "basics"))
    driver = Driver(plan, partitions=2, chunk_size=chunk_size, fused=fused)
    if crash is not None:
        driver.crash_at[2] = crash
    driver.now_ms = MIDNIGHT_MS
    driver.publish("basics.readings", READINGS)
    driver.run()
    by_time = sorted(driver.output("basics.judged"), key=lambda row: row["time"])
    assert by_time == EXPECTED
    alarms = sorted(driver.output("basics.alarms"), key=lambda row: row["time"])
    assert alarms == [row for row in EXPECTED if row["level"] == "alarm"]
    assert driver.table("readings_seen") == {"kitchen": 3, "cellar": 2}
    assert driver.dead_letters() == []
