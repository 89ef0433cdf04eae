"""Orders with payments and graded accounts, and an independent model of their joins and windows."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.chaos.orders import CLOSING, START_MS, Verdict
from tests.chaos.scenario import Event, Scenario

_AFTER_MS, _SIZE_MS, _SLIDE_MS, _GAP_MS = 1_000, 2_000, 1_000, 150

#: (topic, key …) → what the row has besides
Expected = dict[tuple[Any, ...], tuple[Any, ...]]


def make_trades(count: int, seed: int, first: int = 0) -> list[Event]:
    """Orders from number `first` on, 2 ms apart, up to 0.8 s out of order; most are paid, some change their account."""
    chance = random.Random(f"{seed} {first}")
    return [
        {
            "id": f"order-{number}",
            "time": START_MS + 2 * number + chance.randrange(-400, 400),
            "account": f"account-{chance.randrange(100)}",
            "region": f"region-{chance.randrange(20)}",
            "amount": chance.randrange(100),
            "paid": chance.choice([None, chance.randrange(0, _AFTER_MS), chance.randrange(0, 2 * _AFTER_MS)]),
            "method": chance.choice(["card", "cash"]),
            "grade": chance.choice([None, None, number]),
        }
        for number in range(first, first + count)
    ]


def records(trade: Event) -> list[tuple[str, str, Event]]:
    """The change of its account first, so that an order of the same time has it."""
    found = []
    if trade["grade"] is not None:
        body = {name: trade[name] for name in ("account", "time", "grade")}
        found.append(("trades.accounts", trade["account"], body))
    found.append(
        ("trades.orders", trade["id"], {name: trade[name] for name in ("id", "time", "account", "region", "amount")})
    )
    if trade["paid"] is not None:
        body = {"order": trade["id"], "time": trade["time"] + trade["paid"], "method": trade["method"]}
        found.append(("trades.payments", trade["id"], body))
    return found


def closing(trades: list[Event]) -> list[tuple[str, int, str, Event]]:
    """One event beyond everything per partition."""
    time = START_MS + 2 * len(trades) + 3_600_000
    bodies = {
        "trades.orders": {"id": CLOSING, "time": time, "account": CLOSING, "region": CLOSING, "amount": 0},
        "trades.payments": {"order": CLOSING, "time": time - 1, "method": CLOSING},
        "trades.accounts": {"account": CLOSING, "time": time, "grade": 0},
    }
    return [(topic, partition, CLOSING, body) for topic, body in bodies.items() for partition in range(4)]


def expected_rows(trades: list[Event]) -> Expected:
    """Every row of every output."""
    found: Expected = {}
    grades: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for trade in trades:
        if trade["grade"] is not None:
            grades[trade["account"]].append((trade["time"], trade["grade"]))
    joined: dict[str, list[tuple[int, Event, str | None]]] = defaultdict(list)
    for trade in trades:
        before = [(time, place) for place, (time, _) in enumerate(grades[trade["account"]]) if time <= trade["time"]]
        grade = grades[trade["account"]][max(before)[1]][1] if before else None
        found["trades.graded", trade["id"]] = (grade,)
        is_paid = trade["paid"] is not None and trade["paid"] <= _AFTER_MS
        method = trade["method"] if is_paid else None
        found["trades.paid", trade["id"]] = (method,)
        time = trade["time"] + (trade["paid"] if is_paid else _AFTER_MS)
        joined[trade["region"]].append((time, trade, method))
    for region, rows in joined.items():
        found |= {("trades.spread", region, start): row for start, row in _spreads(rows)}
        found |= {("trades.visits", region, start): row for start, row in _visits(rows)}
    return found


def _spreads(rows: list[tuple[int, Event, str | None]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    windows: dict[int, list[Event]] = defaultdict(list)
    for time, trade, _ in rows:
        last = time - time % _SLIDE_MS
        for start in range(last - _SIZE_MS + _SLIDE_MS, last + 1, _SLIDE_MS):
            windows[start].append(trade)
    for start, trades in windows.items():
        amounts = sorted(trade["amount"] for trade in trades)
        ids = sorted(trade["id"] for trade in trades)
        yield start, (len(trades), amounts[90 * (len(amounts) - 1) // 100], tuple(ids))


def _visits(rows: list[tuple[int, Event, str | None]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    session: list[tuple[int, str | None]] = []
    for time, method in [
        *sorted(((time, method) for time, _, method in rows), key=lambda row: row[0]),
        (1 << 60, None),
    ]:
        if session and time - session[-1][0] >= _GAP_MS:
            methods = {method for _, method in session if method is not None}
            yield session[0][0], (session[-1][0] + _GAP_MS, len(session), len(methods))
            session = []
        session.append((time, method))


def _found(row: Event) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    topic = row["_topic"]
    match topic:
        case "trades.graded":
            return (topic, row["id"]), (row["grade"],)
        case "trades.paid":
            return (topic, row["id"]), (row["p_method"],)
        case "trades.spread":
            ids = tuple(sorted(row["ids"]["values"]))
            return (topic, row["region"], row["start"]), (row["n"], row["most"], ids)
        case _:
            return (topic, row["region"], row["start"]), (row["end"], row["n"], row["methods"])


def judge(outputs: list[Event], expected: Expected) -> Verdict:
    """Compare every row with the model."""
    verdict, seen = Verdict(), Counter[tuple[Any, ...]]()
    for row in outputs:
        key, values = _found(row)
        if CLOSING in key:
            continue
        seen[key] += 1
        if expected.get(key) != values:
            verdict.wrong.append(key)
    verdict.duplicated = [key for key, count in seen.items() if count > 1]
    verdict.lost = sorted(expected.keys() - seen.keys())
    return verdict


TRADES = Scenario(
    topology=Path(__file__).parent / "trades.yaml",
    read=("trades.paid", "trades.graded", "trades.spread", "trades.visits"),
    make=make_trades,
    records=records,
    closing=closing,
    expected=expected_rows,
    judge=judge,
)
