"""The command line: `streamflow --help`."""

import typer

from streamflow.cli import client, control, look, runs
from streamflow.cli.broker import broker, doctor
from streamflow.cli.demo import demo
from streamflow.cli.deploy import deploy
from streamflow.cli.nodes import nodes
from streamflow.cli.run import run

app = typer.Typer(
    name="streamflow",
    help="Kafka stream processing: declare a topology, run it exactly once, query its windows over HTTP.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command()(run)
app.command()(runs.reset)
app.command()(demo)
app.command()(look.check)
app.command()(look.plan)
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
app.command()(doctor)
app.add_typer(broker, name="broker")
app.add_typer(deploy, name="deploy")
app.add_typer(nodes, name="nodes")
