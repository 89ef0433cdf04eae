"""Checks of error budgets: each is of a node that there is."""

from difflib import get_close_matches

from streamflow.errors import Problem
from streamflow.topology.spec import TopologySpec


def check_budgets(spec: TopologySpec) -> list[Problem]:
    """Every problem of `error_budgets`."""
    problems = []
    names = [node.name for node in spec.nodes]
    for name, budget in spec.error_budgets.items():
        place = f"error_budgets.{name}"
        if name not in names:
            near = get_close_matches(name, names, 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"nodes are {', '.join(names)}"
            problems.append(Problem(place, "there is no such node", remedy))
        if budget.failures is None and budget.percent is None:
            problems.append(Problem(place, "it has no bound", "give `failures`, `percent`, or both"))
    return problems
