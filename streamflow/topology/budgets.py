"""Checks of error budgets: each is of a node that there is."""

from streamflow.errors import Problem
from streamflow.model.names import near_name
from streamflow.topology.spec import TopologySpec


def check_budgets(spec: TopologySpec) -> list[Problem]:
    """Every problem of `error_budgets`."""
    problems = []
    names = [node.name for node in spec.nodes]
    for name, budget in spec.error_budgets.items():
        place = f"error_budgets.{name}"
        if name not in names:
            problems.append(Problem(place, "there is no such node", near_name(name, names, "nodes are")))
        if budget.failures is None and budget.percent is None:
            problems.append(Problem(place, "it has no bound", "give `failures`, `percent`, or both"))
    return problems
