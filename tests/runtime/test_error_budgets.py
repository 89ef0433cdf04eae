"""Error budgets: when a window is used up, and what of real tasks is counted."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.bus.control import Control, Order, Wish
from streamflow.engine.task import Task
from streamflow.errors import TopologyError
from streamflow.plan.describe import describe
from streamflow.plan.plan import ErrorBudget
from streamflow.plan.planner import make_plan
from streamflow.runtime.error_budgets import BudgetWindow, ErrorBudgets
from streamflow.testing.driver import Driver
from streamflow.topology.document import spec_of

_COUNTS = st.tuples(st.integers(0, 50), st.integers(0, 10)).map(lambda each: (each[0] + each[1], each[1]))


@given(
    st.lists(st.tuples(st.integers(1, 30), _COUNTS), min_size=1, max_size=80),
    st.integers(0, 20) | st.none(),
    st.integers(0, 50),
)
def test_a_window_judges_what_came_within_its_time(
    steps: list[tuple[int, tuple[int, int]]], failures: int | None, percent: int
) -> None:
    window = BudgetWindow(ErrorBudget("n", failures, float(percent), 40, 60_000))
    now, seen = 0, list[tuple[int, int, int]]()
    for step, (rows, dead) in steps:
        now += step
        seen.append((now, rows, dead))
        why = window.add(now, rows, dead)
        within = [each for each in seen if now - each[0] <= 60]
        all_rows, all_dead = sum(each[1] for each in within), sum(each[2] for each in within)
        too_many = failures is not None and all_dead > failures
        too_large = all_rows >= 40 and 100 * all_dead > percent * all_rows
        assert bool(why) == (too_many or too_large)
        assert not why or f"{all_dead} dead letters of {all_rows} rows within 1m" in why


def document(**budgets: Any) -> dict[str, Any]:
    return {
        "topology": "t",
        "schemas": {"S": {"v": "int"}},
        "nodes": {
            "source": {"kind": "source", "topic": "in", "schema": "S"},
            "halved": {"kind": "map", "input": "source", "set": {"half": "10 // v"}},
            "out": {"kind": "sink", "input": "halved", "topic": "out"},
        },
        "error_budgets": budgets,
    }


@dataclass
class Hosted:
    """A task of a driver."""

    task: Task
    is_open: bool = True


class Ordered:
    """The orders of one process."""

    def __init__(self) -> None:
        self.control = Control("t", {"source": 1})

    async def order(self, wish: Wish, actor: str, reason: str) -> Order:
        """The next one."""
        self.control.order = self.control.next_order(wish, actor, reason, 0) or self.control.order
        return self.control.order


def test_letters_of_real_tasks_use_a_budget_up_until_somebody_resumes() -> None:
    plan = make_plan(spec_of(document(halved={"failures": 3, "per": "1m"}, source={"percent": 50, "at_least": 4})))
    made, orders = Driver(plan, partitions=2), Ordered()
    budgets = ErrorBudgets(plan.error_budgets, lambda: [Hosted(task) for task in made.tasks()], orders)

    def come(*values: Any) -> None:
        made.publish("in", [value if isinstance(value, bytes) else {"v": value} for value in values])
        made.run()

    come(0, 0, 0, 0, 0)
    assert budgets.look(0) == "", "what was there before is not counted"
    come(1, 0, 0, 0)
    assert budgets.look(1) == ""
    come(0)
    why = budgets.look(2)
    assert why == "node halved made 4 dead letters of 5 rows within 1m, 3 are allowed"
    asyncio.run(orders.order(Wish.PAUSE, "error budget", why))
    come(0)
    assert budgets.look(3) == ""
    asyncio.run(orders.order(Wish.RUN, "ann", "mended"))
    come(0, 0, 0)
    assert budgets.look(4) == "", "it begins anew"
    come(b"no JSON", b"nor this", b"nor that", b"nor those")
    assert budgets.look(5) == "node source made 4 dead letters of 7 rows within 10m, 50 % are allowed"
    asyncio.run(orders.order(Wish.PAUSE, "error budget", "said"))
    asyncio.run(orders.order(Wish.RUN, "ann", "mended at once"))
    come(b"no JSON")
    assert budgets.look(6) == "", "nobody has looked between the two"


def test_a_budget_is_planned_and_checked() -> None:
    plan = make_plan(spec_of(document(halved={"failures": 3, "percent": 0.5, "per": "1h"})))
    assert plan.error_budgets == (ErrorBudget("halved", 3, 0.5, 100, 3_600_000),)
    note = "halved: more dead letters than 3 or 0.5 % of at least 100 rows within 1h pause the topology"
    assert note in describe(plan)["notes"]
    with pytest.raises(TopologyError) as found:
        spec_of(document(halvd={"failures": 1}, out={}))
    assert [str(problem) for problem in found.value.problems] == [
        "error_budgets.halvd: there is no such node (did you mean 'halved'?)",
        "error_budgets.out: it has no bound (give `failures`, `percent`, or both)",
    ]
    with pytest.raises(TopologyError, match=r"error_budgets\.source\.per"):
        spec_of(document(source={"failures": 1, "per": "1ms"}))
