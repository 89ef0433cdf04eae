"""streamflow deploy apply | diff | status | rollback: a topology as a release of Helm."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from streamflow.cli.show import EXIT_FAILED, AsJson, console, error_console, print_json, print_table, refusals
from streamflow.deploy.helm import Helm, HelmFailed, find_chart
from streamflow.deploy.preflight import Preflight, inspect
from streamflow.deploy.standing import Standing, read_standing
from streamflow.errors import UserError
from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.settings.settings import Settings, load_settings
from streamflow.topology.load import load_topology

if TYPE_CHECKING:
    from streamflow.deploy.changes import Change

TopologyPath = Annotated[Path, typer.Argument(help="folder or file of the topology")]
ReleaseName = Annotated[
    str | None, typer.Option("--release", help="name of the release; the topology's when not given")
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="namespace of Kubernetes")]
Workers = Annotated[int, typer.Option(min=1, max=10_000, help="workers to run")]
Brokers = Annotated[str | None, typer.Option(help="Kafka bootstrap servers; STREAMFLOW_BROKERS")]
Files = Annotated[list[Path] | None, typer.Option("--values", "-f", help="further values of the chart")]
Chart = Annotated[Path | None, typer.Option(help="the chart; beside the source when not given")]
HelmCommand = Annotated[str, typer.Option("--helm", help="Helm's command")]
KubectlCommand = Annotated[str, typer.Option("--kubectl", help="kubectl's command")]
Wait = Annotated[int, typer.Option(min=0, max=86_400, help="seconds to wait until all is ready; 0 does not wait")]
_WAIT_S = 600


def apply(
    topology: TopologyPath,
    release: ReleaseName = None,
    namespace: Namespace = "default",
    workers: Workers = 2,
    brokers: Brokers = None,
    files: Files = None,
    chart: Chart = None,
    wait: Wait = _WAIT_S,
    atomic: Annotated[bool, typer.Option("--atomic", help="go back by itself when it fails")] = False,
    skip_preflight: Annotated[bool, typer.Option("--skip-preflight", help="do not ask Kafka first")] = False,
    helm: HelmCommand = "helm",
    kubectl: KubectlCommand = "kubectl",
) -> None:
    """Install or upgrade a topology and wait for its workers; Kafka is asked first whether it will run well."""
    with refusals():
        plan, settings = make_plan(load_topology(topology)), load_settings(brokers=brokers)
        name, tool = release or release_name(plan), Helm(namespace, helm)
        if not skip_preflight:
            _refuse_errors(preflight_of(plan, settings, workers))
        values = values_of(plan, topology, settings, workers)
        try:
            revision = tool.upgrade(name, chart or find_chart(), values, files or [], wait, atomic)
        except HelmFailed:
            # Helm says that it waited in vain; the pods say why.
            _show_standing(read_standing(name, namespace, kubectl))
            error_console.print(
                f"go on: mend it and apply again; go back: streamflow deploy rollback {name} -n {namespace}",
                highlight=False,
            )
            raise
        console.print(f"[green]✓[/] {name}: revision {revision}", highlight=False)
        if wait:
            _show_standing(read_standing(name, namespace, kubectl))


def diff(
    topology: TopologyPath,
    release: ReleaseName = None,
    namespace: Namespace = "default",
    workers: Workers = 2,
    brokers: Brokers = None,
    files: Files = None,
    chart: Chart = None,
    helm: HelmCommand = "helm",
    as_json: AsJson = False,
) -> None:
    """Show what `apply` would change, object by object; exit code 1 when there is something, 0 when not."""
    from streamflow.deploy.changes import changes

    with refusals():
        plan, settings = make_plan(load_topology(topology)), load_settings(brokers=brokers)
        name, tool = release or release_name(plan), Helm(namespace, helm)
        values = values_of(plan, topology, settings, workers)
        found = changes(tool.manifest(name), tool.planned(name, chart or find_chart(), values, files or []))
    if as_json:
        print_json([{"what": each.what, "object": each.name, "diff": list(each.lines)} for each in found])
    else:
        _show_changes(found)
    if found:
        raise typer.Exit(EXIT_FAILED)


def status(
    release: Annotated[str, typer.Argument(help="name of the release")],
    namespace: Namespace = "default",
    helm: HelmCommand = "helm",
    kubectl: KubectlCommand = "kubectl",
    as_json: AsJson = False,
) -> None:
    """Show revisions and workers, and why one is not ready; exit code 1 when not all are."""
    with refusals():
        history = Helm(namespace, helm).history(release)
        if not history:
            raise UserError(
                f"there is no release {release!r} in namespace {namespace}: streamflow deploy apply TOPOLOGY"
            )
        found = read_standing(release, namespace, kubectl)
    if as_json:
        print_json({"history": history, **_as_data(found)})
    else:
        rows = [[row["revision"], row["status"], row["updated"], row["description"]] for row in history[-5:]]
        print_table(release, ["revision", "status", "updated", "description"], rows)
        _show_standing(found)
    if not found.is_good:
        raise typer.Exit(EXIT_FAILED)


def rollback(
    release: Annotated[str, typer.Argument(help="name of the release")],
    revision: Annotated[int, typer.Argument(min=0, help="revision to go to; 0 is the one before")] = 0,
    namespace: Namespace = "default",
    wait: Wait = _WAIT_S,
    helm: HelmCommand = "helm",
    kubectl: KubectlCommand = "kubectl",
) -> None:
    """Go back to an earlier revision and wait for its workers."""
    with refusals():
        tool = Helm(namespace, helm)
        tool.rollback(release, revision, wait)
        console.print(f"[green]✓[/] {release}: {tool.history(release)[-1]['description']}", highlight=False)
        _show_standing(read_standing(release, namespace, kubectl))


def release_name(plan: Plan) -> str:
    """Name of a topology's release; Kubernetes takes no underscores."""
    return plan.topology.replace("_", "-")


def values_of(plan: Plan, topology: Path, settings: Settings, workers: int) -> dict[str, Any]:
    """Values with the partitions that the topology declares: no cluster is asked."""
    from streamflow.deploy.release import release_values
    from streamflow.runtime.topics import wanted_partitions

    return release_values(plan, topology, settings, wanted_partitions(plan, {}), workers)


def preflight_of(plan: Plan, settings: Settings, workers: int, limit_bytes: int | None = None) -> Preflight:
    """What Kafka says to a topology. limit_bytes: memory of a worker, when that is known."""
    from streamflow.runtime.cluster_facts import read_cluster
    from streamflow.runtime.topics import wanted_partitions

    facts = asyncio.run(read_cluster(plan, settings))
    counts = wanted_partitions(plan, {name: found.partition_count for name, found in facts.topics.items()})
    return inspect(plan, settings, facts, counts, workers, limit_bytes)


def _refuse_errors(found: Preflight) -> None:
    if found.error_count:
        raise UserError(
            f"Kafka is not ready for it, {found.error_count} errors: streamflow deploy preflight names them "
            "and the commands that mend them (--skip-preflight applies all the same)"
        )


def _show_changes(found: "list[Change]") -> None:
    for each in found:
        console.print(f"[bold]{each.what} {escape(each.name)}[/]", highlight=False)
        for line in each.lines[2:]:
            style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
            console.print(escape(line), style=style, highlight=False, soft_wrap=True)
    console.print(f"{len(found)} objects would change" if found else "nothing would change")


def _show_standing(found: Standing) -> None:
    rows = [[pod.name, pod.node, "yes" if pod.ready else "no", pod.restarts, pod.reason] for pod in found.workers]
    print_table("workers", ["pod", "node", "ready", "restarts", "why not"], rows)
    for pod in found.jobs:
        error_console.print(f"[red]✗[/] job {escape(pod.name)}: {escape(pod.reason)}", highlight=False)
    mark = "[green]✓[/]" if found.is_good else "[red]✗[/]"
    console.print(f"{mark} {found.ready_count} of {found.wanted} workers ready", highlight=False)


def _as_data(found: Standing) -> dict[str, Any]:
    names = ("name", "node", "ready", "restarts", "reason")
    pods = {
        kind: [{name: getattr(pod, name) for name in names} for pod in group]
        for kind, group in (("workers", found.workers), ("jobs", found.jobs))
    }
    return {"ok": found.is_good, "wanted": found.wanted, "ready": found.ready_count, **pods}
