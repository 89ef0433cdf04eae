"""streamflow mirror: what is published in one region, in another one too."""

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.show import EXIT_FAILED, AsJson, console, error_console, print_json, print_table, refusals
from streamflow.errors import SettingsError, UserError
from streamflow.settings.settings import load_settings, load_source_settings

if TYPE_CHECKING:
    from aiokafka.structs import TopicPartition

    from streamflow.metrics.mirror import MirrorMetrics
    from streamflow.runtime.mirror import Mirror, PartitionFigures

mirror = typer.Typer(help="Copies of another region's topics: exactly once, in order.", no_args_is_help=True)

Topologies = Annotated[list[Path], typer.Argument(help="folders or files of topologies that run in both regions")]
Origin = Annotated[str, typer.Option(help="name of the source region, such as eu")]
Source = Annotated[
    str | None,
    typer.Option(help="Kafka of the source region; STREAMFLOW_SOURCE_BROKERS, and so on for its other settings"),
]
Topics = Annotated[list[str] | None, typer.Option("--topic", help="another topic to copy; as often as needed")]
Name = Annotated[str, typer.Option(help="of this mirror, when several copy from there")]
Brokers = Annotated[str | None, typer.Option(help="Kafka of this region; STREAMFLOW_BROKERS")]
_NAME = "mirror"


@mirror.command("run")
def run_(
    topologies: Topologies,
    origin: Origin,
    source: Source = None,
    topic: Topics = None,
    name: Name = _NAME,
    brokers: Brokers = None,
    port: Annotated[int | None, typer.Option(help="port of metrics and probes; STREAMFLOW_HTTP_PORT")] = None,
) -> None:
    """Copy sources and global tables of the topologies, until Ctrl-C; what they write, they write in both regions."""
    from streamflow.errors import Fenced
    from streamflow.logs.setup import set_up_logs
    from streamflow.metrics.mirror import MirrorMetrics

    with refusals():
        what = _mirror(topologies, origin, source, topic, name, brokers)
        settings = load_settings(http_port=port)
        set_up_logs(settings.log_level, settings.log_format)
        metrics = MirrorMetrics(origin)
        try:
            metrics.serve(settings.http_host, settings.http_port)
        except OSError as error:
            raise SettingsError(f"STREAMFLOW_HTTP_PORT: {settings.http_port} cannot be listened on: {error}") from error
        error_console.print(f"copying {', '.join(what.topics)} from {origin}", highlight=False, markup=False)
        try:
            asyncio.run(_until_signal(what, metrics))
        except Fenced as error:
            raise UserError(f"another mirror {what.identity} has begun, and this one ends") from error


@mirror.command()
def status(
    topologies: Topologies,
    origin: Origin,
    source: Source = None,
    topic: Topics = None,
    name: Name = _NAME,
    brokers: Brokers = None,
    within: Annotated[float | None, typer.Option(help="exit code 1 when more seconds behind")] = None,
    as_json: AsJson = False,
) -> None:
    """How far this region is behind the other one, by partition: what would be lost with it."""
    from streamflow.runtime.mirror_lag import read_lag

    with refusals():
        found = asyncio.run(read_lag(_mirror(topologies, origin, source, topic, name, brokers)))
    if as_json:
        print_json([asdict(each) | {"lag": each.lag} for each in found])
    else:
        rows = [
            [each.topic, each.partition, each.position, each.end, each.lag, f"{each.behind_s:.1f}"] for each in found
        ]
        print_table(
            f"behind {origin}", ["topic", "partition", "copied to", "end", "offsets behind", "seconds behind"], rows
        )
    if within is not None and any(each.behind_s > within or each.position is None for each in found):
        raise typer.Exit(EXIT_FAILED)


@mirror.command()
def position(
    topic: Annotated[str, typer.Argument(help="topic that is copied")],
    partition: Annotated[int, typer.Argument(min=0)],
    offset: Annotated[int, typer.Argument(min=0, help="offset in the source region")],
    origin: Origin,
    brokers: Brokers = None,
) -> None:
    """Where an offset of the other region is in this one: a consumer that had read up to it goes on there."""
    from streamflow.runtime.mirror_log import translate

    with refusals():
        console.print(asyncio.run(translate(load_settings(brokers=brokers), origin, topic, partition, offset)))


def _mirror(
    topologies: list[Path], origin: str, source: str | None, topics: list[str] | None, name: str, brokers: str | None
) -> "Mirror":
    from streamflow.plan.mirrored import mirrored_topics
    from streamflow.plan.planner import make_plan
    from streamflow.runtime.mirror import Mirror
    from streamflow.topology.load import load_topology

    for option, text in (("--origin", origin), ("--name", name)):
        if not text.replace("-", "").replace("_", "").isalnum() or len(text) > 40:
            raise UserError(f"{option} {text!r} is no name: up to 40 letters, digits, dashes or underscores")
    plans = [make_plan(load_topology(each)) for each in topologies]
    found = tuple(dict.fromkeys((*mirrored_topics(plans), *(topics or ()))))
    there, here = load_source_settings(brokers=source), load_settings(brokers=brokers)
    if there.brokers == here.brokers:
        raise UserError(f"both regions have the brokers {here.brokers}: give --source, or STREAMFLOW_SOURCE_BROKERS")
    return Mirror(there, here, origin, found, name)


async def _until_signal(what: "Mirror", metrics: "MirrorMetrics") -> None:
    from streamflow.runtime.mirror import run_mirror

    def tell(tp: "TopicPartition", figures: "PartitionFigures") -> None:
        behind_s = max(0.0, time.time() - figures.complete_at)
        metrics.fill(tp.topic, tp.partition, figures.copied, figures.lag, behind_s)

    running = asyncio.create_task(run_mirror(what, tell))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    with suppress(asyncio.CancelledError):
        await running
