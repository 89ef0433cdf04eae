"""The command line: `streamflow --help`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from streamflow.cli import client, control, look, runs
from streamflow.cli.alerts import alerts
from streamflow.cli.approvals import approvals
from streamflow.cli.audit import audit
from streamflow.cli.broker import broker, doctor
from streamflow.cli.debug import debug
from streamflow.cli.demo import demo
from streamflow.cli.deploy import deploy
from streamflow.cli.dlq import dlq
from streamflow.cli.executions import executions
from streamflow.cli.keys import keys
from streamflow.cli.load import load
from streamflow.cli.mirror import mirror
from streamflow.cli.models import models
from streamflow.cli.nodes import nodes
from streamflow.cli.placement import placement
from streamflow.cli.profile import profile
from streamflow.cli.replay import replay
from streamflow.cli.run import run
from streamflow.cli.schedule import schedule
from streamflow.cli.snapshots import snapshots
from streamflow.cli.top import top

app = typer.Typer(
    name="streamflow",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def given(
    key_file: Annotated[
        Path | None, typer.Option(help="file with the API key or token for a worker; STREAMFLOW_API_KEY_FILE")
    ] = None,
) -> None:
    """Kafka stream processing: declare a topology, run it exactly once, query its windows over HTTP."""
    if key_file is not None:
        os.environ["STREAMFLOW_API_KEY_FILE"] = str(key_file)


app.command()(run)
app.command()(schedule)
app.command()(runs.reset)
app.command()(demo)
app.command()(debug)
app.command()(look.check)
app.command()(look.plan)
app.command()(placement)
app.command()(look.topics)
app.command()(client.publish)
app.command()(client.query)
app.command()(client.why)
app.command()(client.tail)
app.command()(control.pause)
app.command()(control.resume)
app.command()(control.stop)
app.command()(control.cancel)
app.command()(control.state)
app.add_typer(alerts, name="alerts")
app.add_typer(approvals, name="approvals")
app.command()(top)
app.command()(profile)
app.command()(load)
app.command()(doctor)
app.add_typer(audit, name="audit")
app.add_typer(broker, name="broker")
app.add_typer(deploy, name="deploy")
app.add_typer(dlq, name="dlq")
app.add_typer(executions, name="executions")
app.add_typer(keys, name="keys")
app.add_typer(mirror, name="mirror")
app.add_typer(nodes, name="nodes")
app.add_typer(replay, name="replay")
app.add_typer(models, name="models")
app.add_typer(snapshots, name="snapshots")
