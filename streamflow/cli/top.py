"""streamflow top: a topology as it runs, all its workers together."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import httpx
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamflow.cli.client import URL, Url, ask
from streamflow.cli.connect import connect
from streamflow.cli.node_statistics import reduction
from streamflow.cli.show import console, print_json

#: Workers that are asked, and how long each may take.
WORKERS_MAX = 100
_ASK_S = 5.0
_SHARE = "give the API key to all workers, at whatever addresses they announced in Kafka"


@dataclass(frozen=True)
class Look:
    """What the workers said at a moment. tasks: (worker, its view of a task); silent: workers that did not answer."""

    at_s: float
    now_ms: float
    topology: str
    tasks: dict[tuple[str, int], tuple[str, dict[str, Any]]]
    silent: list[str] = field(default_factory=list)


def top(
    url: Url = URL,
    every: Annotated[float, typer.Option(min=0.2, max=60, help="seconds between looks")] = 2.0,
    once: Annotated[bool, typer.Option(help="two looks, then end")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs; implies --once")] = False,
    share_key: Annotated[bool, typer.Option(help=_SHARE)] = False,
) -> None:
    """Watch a topology: rates, lag, watermarks and states of all workers, until Ctrl-C."""
    with connect(url, _ASK_S) as client:
        see = partial(look, client, share_key=share_key)
        before = see()
        time.sleep(every)
        now = see()
        if as_json:
            print_json(summary(before, now))
        elif once or not console.is_terminal:
            console.print(_screen(summary(before, now)))
        else:
            _watch(see, before, now, every)


def _watch(see: Callable[[], Look], before: Look, now: Look, every_s: float) -> None:
    try:
        with Live(_screen(summary(before, now)), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every_s)
                before, now = now, see()
                live.update(_screen(summary(before, now)), refresh=True)
    except KeyboardInterrupt:
        return


def look(client: httpx.Client, *, share_key: bool = False) -> Look:
    """Ask the worker, and all others that own tasks. The first one must answer.

    share_key: whether the others get the client's key. Whoever may join the Kafka group can announce an address.
    """
    name = ask(client, "/v1/topologies", {})["topologies"][0]["name"]
    path = f"/v1/topologies/{name}"
    first = ask(client, path, {})
    views, silent = [first], []
    others = sorted(set(first["owners"].values()) - {first["worker"]})[: WORKERS_MAX - 1]
    for url in others:
        try:
            request = client.build_request("GET", url + path)
            if not share_key:
                request.headers.pop("Authorization", None)
            answer = client.send(request)
            answer.raise_for_status()
            views.append(answer.json())
        except (httpx.HTTPError, ValueError):
            silent.append(url)
    tasks = {(task["stage"], task["partition"]): (view["worker"], task) for view in views for task in view["tasks"]}
    return Look(time.monotonic(), time.time() * 1_000, name, tasks, silent)


def summary(before: Look, now: Look) -> dict[str, Any]:
    """Rates per second between two looks, and where things stand at the second.

    Tasks that moved in between have no rate: their counters began again.
    """
    seconds = max(1e-3, now.at_s - before.at_s)
    stages = sorted({stage for stage, _partition in now.tasks})
    return {
        "topology": now.topology,
        "seconds": round(seconds, 3),
        "stages": [_stage(stage, before, now, seconds) for stage in stages],
        "nodes": [row for stage in stages for row in _nodes(stage, before, now, seconds)],
        "workers": _workers(now),
        "silent": now.silent,
    }


def _pairs(stage: str, before: Look, now: Look) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """Views of the tasks that were and are with the same worker."""
    for place, (worker, task) in now.tasks.items():
        was = before.tasks.get(place)
        if place[0] == stage and was is not None and was[0] == worker:
            yield was[1], task


def _stage(stage: str, before: Look, now: Look, seconds: float) -> dict[str, Any]:
    tasks = [task for (name, _partition), (_worker, task) in now.tasks.items() if name == stage]
    read = sum(
        max(0, offset - was["positions"].get(place, offset))
        for was, task in _pairs(stage, before, now)
        for place, offset in task["positions"].items()
    )
    marks = [task["watermark"] for task in tasks if task["watermark"] is not None]
    lags = [task["lag"] for task in tasks if task["lag"] is not None]
    return {
        "stage": stage,
        "tasks": len(tasks),
        "running": sum(task["state"] == "running" for task in tasks),
        "restored": min((task["restore"]["ratio"] for task in tasks), default=1.0),
        "records_per_s": round(read / seconds, 1),
        "lag": sum(lags) if lags else None,
        "watermark": min(marks) if len(marks) == len(tasks) else None,
        "behind_s": round((now.now_ms - min(marks)) / 1_000, 1) if marks and len(marks) == len(tasks) else None,
    }


def _nodes(stage: str, before: Look, now: Look, seconds: float) -> list[dict[str, Any]]:
    totals: dict[str, dict[str, Any]] = {}
    for was, task in _pairs(stage, before, now):
        for name, counts in task["nodes"].items():
            row = totals.setdefault(name, {"stage": stage, "node": name, "in_per_s": 0.0, "out_per_s": 0.0})
            old = was["nodes"].get(name, counts)
            row["in_per_s"] += max(0, counts["in"] - old["in"]) / seconds
            row["out_per_s"] += max(0, counts["out"] - old["out"]) / seconds
            for each in ("late", "dead"):
                row[each] = row.get(each, 0) + counts[each]
            times = [time for time in (row.get("latency_us"), counts.get("latency_us")) if time is not None]
            row["latency_us"] = max(times, default=None)  # of the slowest worker
    for row in totals.values():
        row["reduction"] = reduction(row["in_per_s"], row["out_per_s"])
        row["in_per_s"], row["out_per_s"] = round(row["in_per_s"], 1), round(row["out_per_s"], 1)
    return list(totals.values())


def _workers(now: Look) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for worker, _task in now.tasks.values():
        counts[worker] = counts.get(worker, 0) + 1
    return [{"worker": worker, "tasks": count} for worker, count in sorted(counts.items())]


def _screen(found: dict[str, Any]) -> Group:
    stages = _table("stage", "tasks", "records/s", "lag", "behind")
    for row in found["stages"]:
        behind = "" if row["behind_s"] is None else _age(row["behind_s"])
        state = f"{row['running']}/{row['tasks']}" + (
            f", restored {row['restored']:.0%}" if row["restored"] < 1 else ""
        )
        lag = "?" if row["lag"] is None else f"{row['lag']:,}"
        stages.add_row(row["stage"], state, f"{row['records_per_s']:,.0f}", lag, behind)
    nodes = _table("node", "in/s", "out/s", "reduced", "µs/row", "late", "dead")
    for row in found["nodes"]:
        rates = (f"{row['in_per_s']:,.0f}", f"{row['out_per_s']:,.0f}")
        reduced = "" if row["reduction"] is None else f"{row['reduction']:.0%}"
        latency = "" if row["latency_us"] is None else f"{row['latency_us']:,.1f}"
        counts = (*rates, reduced, latency, f"{row['late']:,}", f"{row['dead']:,}")
        nodes.add_row(f"{row['stage']} / {row['node']}", *counts, style="red" if row["dead"] else None)
    workers = ", ".join(f"{row['worker']} ({row['tasks']})" for row in found["workers"])
    lines: list[RenderableType] = [
        Text(f"{found['topology']}, over {found['seconds']} s", style="bold"),
        stages,
        nodes,
        Text(f"workers: {workers}"),
    ]
    if found["silent"]:
        lines.append(Text(f"no answer from {', '.join(found['silent'])}", style="red"))
    return Group(*lines)


def _age(seconds: float) -> str:
    """A replay of old events is years behind; nobody reads those in seconds."""
    return f"{seconds:,.1f} s" if seconds < 86_400 else f"{seconds / 86_400:,.0f} days"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    return table
