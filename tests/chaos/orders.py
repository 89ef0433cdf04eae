"""Input of the chaos runs and an independent model of what must come out. Shares no code with the engine."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.scenario import Scenario

WINDOW_MS = 1_000
START_MS = 1_700_000_000_000
CLOSING = "closing"

#: (region, window start) → (count, total, least, most)
Windows = dict[tuple[str, int], tuple[int, int, int, int]]


def make_orders(count: int, seed: int, first: int = 0) -> list[dict[str, Any]]:
    """Orders from number `first` on, 2 ms apart, up to 0.8 s out of order, 500 accounts, 40 regions."""
    chance = random.Random(f"{seed} {first}")
    return [
        {
            "time": START_MS + 2 * i + chance.randrange(-400, 400),
            "account": f"account-{chance.randrange(500)}",
            "region": f"region-{chance.randrange(40)}",
            "amount": chance.randrange(100),
        }
        for i in range(first, first + count)
    ]


def expected_windows(orders: list[dict[str, Any]]) -> Windows:
    """What every window must hold."""
    windows: Windows = {}
    for order in orders:
        amount = order["amount"]
        if amount < 10:
            continue
        key = (order["region"], order["time"] // WINDOW_MS * WINDOW_MS)
        n, total, least, most = windows.get(key, (0, 0, amount, amount))
        windows[key] = (n + 1, total + amount, min(least, amount), max(most, amount))
    return windows


@dataclass
class Verdict:
    """Differences between what came out and the model."""

    lost: list[tuple[Any, ...]] = field(default_factory=list)
    duplicated: list[tuple[Any, ...]] = field(default_factory=list)
    wrong: list[tuple[Any, ...]] = field(default_factory=list)
    table_wrong: list[tuple[Any, ...]] = field(default_factory=list)
    bus_wrong: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def is_exact(self) -> bool:
        """Nothing lost, duplicated or wrong, no worker refused its state, and the bus agrees with the results."""
        return not (self.lost or self.duplicated or self.wrong or self.table_wrong or self.bus_wrong or self.refused)

    def __str__(self) -> str:
        counts = f"lost {len(self.lost)}, duplicated {len(self.duplicated)}, wrong {len(self.wrong)}"
        keys = (self.lost + self.duplicated + self.wrong + self.table_wrong)[:5]
        more = f" {keys}" if keys else ""
        bus = f", bus wrong {len(self.bus_wrong)} {self.bus_wrong[:5]}" if self.bus_wrong else ""
        return f"{counts}, table wrong {len(self.table_wrong)}{bus}, refusals {self.refused}{more}"


def judge(outputs: list[dict[str, Any]], expected: Windows) -> Verdict:
    """Compare emitted results with the model."""
    verdict, seen = Verdict(), set()
    for row in outputs:
        key = (row["region"], row["start"])
        if row["region"] == CLOSING:
            continue
        if key in seen:
            verdict.duplicated.append(key)
        seen.add(key)
        if expected.get(key) != (row["n"], row["total"], row["least"], row["most"]):
            verdict.wrong.append(key)
    verdict.lost = sorted(expected.keys() - seen)
    return verdict


def closing(orders: list[dict[str, Any]]) -> list[tuple[str, int, str, dict[str, Any]]]:
    """One order beyond all windows per partition."""
    far_ms = START_MS + 2 * len(orders) + 3_600_000
    body = {"time": far_ms, "account": CLOSING, "region": CLOSING, "amount": 50}
    return [("orders.in", partition, CLOSING, body) for partition in range(8)]


ORDERS = Scenario(
    topology=Path(__file__).parent / "topology.yaml",
    read=("orders.totals",),
    make=make_orders,
    records=lambda order: [("orders.in", order["account"], order)],
    closing=closing,
    expected=expected_windows,
    judge=judge,
    table="totals",
)
