"""streamflow placement: where the nodes of a topology run, and why."""

from typing import Annotated, Any

import typer

from streamflow.cli.client import ask
from streamflow.cli.connect import connect
from streamflow.cli.look import Topology
from streamflow.cli.show import EXIT_FAILED, AsJson, error_console, plain, print_json, print_table, refusals
from streamflow.plan.placement import Where, placed
from streamflow.plan.planner import make_plan
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology


def placement(
    topology: Topology,
    url: Annotated[str | None, typer.Option(help="a worker of the topology, which knows all others")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which node runs here, which elsewhere, and why; exit code 1 when nobody can run one."""
    from streamflow.runtime.capabilities import capabilities_of

    others: dict[str, list[str]] = {}
    with refusals():
        plan = make_plan(load_topology(topology))
        local = capabilities_of(load_settings(), plan)
        if url is not None:
            with connect(url) as client:
                view = ask(client, f"/v1/topologies/{plan.topology}", {})
            others = {**view["placement"]["others"], view["worker"]: view["placement"]["capabilities"]}
    found = [each.shown() for each in placed(plan, local, others)]
    if as_json:
        print_json({"topology": plan.topology, "capabilities": sorted(local), "others": others, "stages": found})
    else:
        _print(plan.topology, found)
    if any(each["where"] == Where.NOBODY for each in found):
        raise typer.Exit(EXIT_FAILED)


def _print(topology: str, stages: list[dict[str, Any]]) -> None:
    rows = []
    for each in stages:
        where = [each["where"], *each["workers"]] if each["where"] != Where.REMOTE else each["workers"]
        for node in each["nodes"]:
            requires = ", ".join(node["requires"])
            rows.append([node["name"], node["kind"], requires, each["stage"], ", ".join(where), each["reason"]])
    print_table(f"placement of {topology}", ["node", "kind", "requires", "stage", "runs", "why"], rows)
    for each in stages:
        if "remedy" in each:
            error_console.print(f"[red]✗[/] {plain(each['reason'])}: {plain(each['remedy'])}", highlight=False)
