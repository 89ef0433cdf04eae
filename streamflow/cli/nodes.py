"""streamflow nodes: the kinds of nodes, one of them in full, a new one to begin with, and the reference page."""

from pathlib import Path
from typing import Annotated

import typer

from streamflow.cli.client import URL, Url, post
from streamflow.cli.connect import connect
from streamflow.cli.new_node import write_kind
from streamflow.cli.show import console, error_console, print_json, print_table, refusals
from streamflow.errors import UserError
from streamflow.nodes.catalogue import described, listed
from streamflow.nodes.kind import Category
from streamflow.nodes.reference import reference as reference_page
from streamflow.nodes.registry import KINDS, near_kinds

nodes = typer.Typer(help="The kinds of nodes, and how to write one.")
Json = Annotated[bool, typer.Option("--json", help="JSON for programs")]


@nodes.callback(invoke_without_command=True)
def list_kinds(
    context: typer.Context,
    category: Annotated[Category | None, typer.Option(help="kinds of this category only")] = None,
    as_json: Json = False,
) -> None:
    """List the kinds, and plug-ins that cannot be used."""
    if context.invoked_subcommand is not None:
        return
    kinds = [each for each in listed() if category is None or each["category"] == category]
    if as_json:
        print_json({"kinds": kinds, "broken": dict(KINDS.broken)})
        return
    rows = [[each["kind"], each["category"], each["version"], each["description"]] for each in kinds]
    print_table("kinds", ["kind", "category", "version", "what it does"], rows)
    for name, problem in KINDS.broken.items():
        error_console.print(f"[red]✗[/] plug-in {name}: {problem}", highlight=False)


@nodes.command()
def show(kind: Annotated[str, typer.Argument(help="name of the kind")], as_json: Json = False) -> None:
    """Show a kind: what it does, an example, and every option."""
    with refusals():
        if kind not in KINDS:
            raise UserError(f"no kind {kind!r}; {near_kinds(kind)}")
        about = described(KINDS[kind])
        if as_json:
            print_json(about)
            return
        console.print(f"[bold]{about['display_name']}[/] ({kind}) version {about['version']}, {about['category']}")
        console.print(about["description"])
        needs = ", ".join(name for name, value in about["resources"].items() if value)
        console.print(f"runs {' or '.join(about['modes'])}; needs {needs or 'nothing more'}", highlight=False)
        rows = [
            [
                each["name"],
                each["type"],
                "yes" if each["required"] else "",
                each["placeholder"],
                ", ".join(each.get("depends_on", ())),
                each["help"],
            ]
            for each in about["form"]
        ]
        print_table("options", ["option", "type", "required", "such as", "depends on", "what it is"], rows)


@nodes.command()
def options(
    kind: Annotated[str, typer.Argument(help="name of the kind")],
    field: Annotated[str, typer.Argument(help="an option or a derived field that depends on others")],
    values: Annotated[list[str] | None, typer.Option("--value", help="what is chosen so far: field=value")] = None,
    url: Url = URL,
    as_json: Json = False,
) -> None:
    """Ask a worker what a field may be, for the values chosen so far."""
    with refusals(), connect(url) as client:
        chosen = dict(_pair(each) for each in values or ())
        _, answer = post(client, f"/v1/nodes/{kind}/options", {}, {"field": field, "values": chosen})
    if as_json:
        print_json(answer)
    elif answer["waits_for"]:
        console.print(f"choose first: {', '.join(answer['waits_for'])}", highlight=False)
    else:
        found = [answer["value"]] if answer["type"] == "derived" else answer["options"]
        for each in found:
            typer.echo(each)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"{text!r} is no field=value")
    return name, value


@nodes.command()
def new(
    name: Annotated[str, typer.Argument(help="name of the kind: small letters, digits and _")],
    to: Annotated[Path, typer.Option(help="folder to write to")] = Path(),
) -> None:
    """Write a kind that works, with tests that pass, to begin with."""
    with refusals():
        written = write_kind(name, to)
        for path in (written.module, written.tests):
            console.print(f"[green]✓[/] {path}", highlight=False)
        typer.echo(f"Try it: python -m pytest {written.tests}")
        typer.echo("Install it with a package, whose pyproject.toml says:")
        typer.echo(f'\n[project.entry-points."streamflow.nodes"]\n{name} = "your_package.{name}:{written.class_name}"')


@nodes.command()
def reference() -> None:
    """Print the reference page of the built-in kinds."""
    typer.echo(reference_page(), nl=False)
