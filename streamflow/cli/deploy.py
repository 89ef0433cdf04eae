"""streamflow deploy: a topology on Kubernetes. Those commands that a cluster is asked for are in `releases`."""

import re
from typing import Annotated, Any

import typer
from rich.markup import escape

from streamflow.cli import releases
from streamflow.cli.releases import (
    Brokers,
    Chart,
    Files,
    HelmCommand,
    Namespace,
    ReleaseName,
    TopologyPath,
    Workers,
)
from streamflow.cli.show import EXIT_FAILED, AsJson, console, print_json, refusals
from streamflow.deploy.findings import Weight
from streamflow.deploy.helm import Helm, find_chart
from streamflow.deploy.preflight import Preflight, memory_quantity
from streamflow.errors import UserError
from streamflow.plan.planner import make_plan
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology

deploy = typer.Typer(help="A topology on Kubernetes, with the chart in helm/streamflow.", no_args_is_help=True)
deploy.command()(releases.apply)
deploy.command()(releases.diff)
deploy.command()(releases.status)
deploy.command()(releases.rollback)

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


@deploy.command()
def values(topology: TopologyPath, workers: Workers = 2, brokers: Brokers = None) -> None:
    """Print the chart's values for a topology, for `helm upgrade --install NAME helm/streamflow -f -`."""
    with refusals():
        plan, settings = make_plan(load_topology(topology)), load_settings(brokers=brokers)
        typer.echo(_yaml(releases.values_of(plan, topology, settings, workers)), nl=False)


@deploy.command()
def render(
    topology: TopologyPath,
    release: ReleaseName = None,
    namespace: Namespace = "default",
    workers: Workers = 2,
    brokers: Brokers = None,
    files: Files = None,
    chart: Chart = None,
    helm: HelmCommand = "helm",
) -> None:
    """Print the manifests of a topology. Needs Helm, and no cluster."""
    with refusals():
        plan, settings = make_plan(load_topology(topology)), load_settings(brokers=brokers)
        made = releases.values_of(plan, topology, settings, workers)
        name = release or releases.release_name(plan)
        typer.echo(Helm(namespace, helm).render(name, chart or find_chart(), made, files or []), nl=False)


@deploy.command()
def preflight(
    topology: TopologyPath,
    workers: Workers = 2,
    brokers: Brokers = None,
    memory: Annotated[str | None, typer.Option(help="memory limit of a worker, such as 1Gi")] = None,
    replication: Annotated[int | None, typer.Option(help="STREAMFLOW_REPLICATION_FACTOR")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask Kafka whether the topology will run well there; exit code 1 when something would break it."""
    with refusals():
        plan = make_plan(load_topology(topology))
        settings = load_settings(brokers=brokers, replication_factor=replication)
        limit_bytes = None if memory is None else _bytes(memory)
        result = releases.preflight_of(plan, settings, workers, limit_bytes)
        print_json(_as_data(result)) if as_json else _show(result, workers)
        if result.error_count:
            raise typer.Exit(EXIT_FAILED)


@deploy.command()
def acls(
    topology: TopologyPath,
    principal: Annotated[str, typer.Option(help="who the workers are; User:TOPOLOGY when not given")] = "",
    creates: Annotated[bool, typer.Option("--create", help="also for who makes the topics")] = False,
    strimzi: Annotated[str, typer.Option(help="a KafkaUser of this Strimzi cluster instead of commands")] = "",
    into: Annotated[str, typer.Option(help="of a run of its own")] = "",
    brokers: Brokers = None,
) -> None:
    """Print what the workers need to be allowed in Kafka, and nothing more."""
    from streamflow.cli.runs import Run
    from streamflow.deploy.acls import acls_of, commands, strimzi_user

    with refusals():
        plan, settings = Run(name=into).plan(load_topology(topology)), load_settings(brokers=brokers)
        rules = acls_of(plan, settings, creates=creates)
        if strimzi:
            name = principal.removeprefix("User:") or releases.release_name(plan)
            typer.echo(_yaml(strimzi_user(rules, name, strimzi, settings)), nl=False)
        else:
            for line in commands(rules, principal or f"User:{plan.topology}", settings.brokers):
                typer.echo(line)


def _show(result: Preflight, workers: int) -> None:
    for finding in result.findings:
        mark = "[red]✗[/]" if finding.weight is Weight.ERROR else "[yellow]![/]"
        console.print(f"{mark} [bold]{escape(finding.place)}[/]: {escape(finding.message)}", highlight=False)
        # Unbroken lines: they are there to be copied.
        console.print(f"    {escape(finding.command)}", style="dim", highlight=False, soft_wrap=True)
    need = f"{result.memory.task_count} tasks and some {result.memory.total_bytes >> 20} MiB a worker"
    console.print(f"{workers} workers: {need}, so ask for {memory_quantity(result.memory)}", highlight=False)
    warnings = len(result.findings) - result.error_count
    mark = "[red]✗[/]" if result.error_count else "[green]✓[/]"
    console.print(f"{mark} errors: {result.error_count}, warnings: {warnings}", highlight=False)


def _as_data(result: Preflight) -> dict[str, Any]:
    names = ("weight", "check", "place", "message", "command")
    return {
        "ok": result.error_count == 0,
        "findings": [{name: getattr(finding, name) for name in names} for finding in result.findings],
        "memory": {
            "tasks": result.memory.task_count,
            "bytes": result.memory.total_bytes,
            "request": memory_quantity(result.memory),
        },
        "partitions": result.partitions,
    }


def _bytes(quantity: str) -> int:
    match = re.fullmatch(r"(\d+)(k|M|G|Ki|Mi|Gi)?", quantity)
    if match is None:
        raise UserError(f"--memory {quantity}: write a whole number with Ki, Mi or Gi, such as 1Gi")
    return int(match[1]) * _UNITS[match[2] or ""]


def _yaml(document: dict[str, Any]) -> str:
    import io

    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import walk_tree

    walk_tree(document)  # texts of several lines as such
    text = io.StringIO()
    YAML().dump(document, text)
    return text.getvalue()
