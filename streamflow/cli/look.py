"""streamflow check, plan, topics: look at a topology without running it."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from streamflow.cli.show import AsJson, console, print_json, print_table, refusals
from streamflow.plan.describe import describe, mermaid
from streamflow.plan.notes import notes
from streamflow.plan.planner import make_plan
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology

Topology = Annotated[Path, typer.Argument(help="folder or file of the topology")]


def check(topology: Topology, as_json: AsJson = False) -> None:
    """Check a topology; exit code 2 with every problem when it cannot run."""
    with refusals():
        plan = make_plan(load_topology(topology))
        if as_json:
            print_json({"topology": plan.topology, "version": plan.version, "problems": []})
        else:
            nodes = sum(len(stage.entries) + len(stage.nodes) for stage in plan.stages)
            console.print(
                f"[green]✓[/] {plan.topology} version {plan.version}: {len(plan.stages)} stages, {nodes} nodes"
            )


def plan(topology: Topology, as_json: AsJson = False) -> None:
    """Show stages, topics and tables, and the picture as Mermaid."""
    with refusals():
        made = make_plan(load_topology(topology))
        if as_json:
            print_json({**describe(made), "mermaid": mermaid(made)})
            return
        rows = []
        for stage in made.stages:
            nodes = " → ".join(node.name for node in stage.nodes)
            tables = ", ".join(table.name for table in stage.tables)
            rows.append([stage.name, ", ".join(stage.input_topics), nodes, tables])
        print_table(f"{made.topology} version {made.version}", ["stage", "reads", "nodes", "tables"], rows)
        _print_topics(topology)
        for note in notes(made):
            typer.echo(f"note: {note}")
        typer.echo(mermaid(made))


def _print_topics(topology: Path) -> None:
    made = make_plan(load_topology(topology))
    rows = [
        [
            t.name,
            t.role.value,
            t.partitions or f"as {t.partitions_like or 'found'}",
            dict(t.config).get("cleanup.policy", ""),
        ]
        for t in made.topics
    ]
    print_table("topics", ["topic", "role", "partitions", "cleanup.policy"], rows)


def topics(
    topology: Topology,
    create: Annotated[bool, typer.Option(help="create what is missing")] = False,
    brokers: Annotated[str | None, typer.Option(help="Kafka bootstrap servers; STREAMFLOW_BROKERS")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the topics a topology needs, or create them."""
    from streamflow.runtime.topics import ensure_topics

    with refusals():
        made = make_plan(load_topology(topology))
        if not create:
            print_json(describe(made)["topics"]) if as_json else _print_topics(topology)
            return
        counts = asyncio.run(ensure_topics(made, load_settings(brokers=brokers)))
        if as_json:
            print_json(counts)
        else:
            print_table("topics", ["topic", "partitions"], [[name, count] for name, count in counts.items()])
