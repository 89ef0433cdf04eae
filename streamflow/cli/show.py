"""What commands print: tables for people, JSON for programs, every problem of a topology before exit code 2."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamflow.errors import StreamflowError, TopologyError, UserError
from streamflow.model.printable import printable
from streamflow.runtime.exit_codes import exit_code

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs")]

console = Console()
error_console = Console(stderr=True)

EXIT_USER = 2
EXIT_FAILED = 1


@contextmanager
def refusals(*, worker: bool = False) -> Iterator[None]:
    """Turn errors of streamflow into messages and exit codes: 2 when the input is at fault, else 1.

    worker: codes for its supervisor instead.
    """
    try:
        yield
    except TopologyError as error:
        for problem in error.problems:
            at = f", line {problem.line}" if problem.line is not None else ""
            error_console.print(
                f"[red]✗[/] [bold]{plain(problem.place)}[/]{at}: {plain(problem.message)}", highlight=False
            )
            if problem.remedy:
                error_console.print(f"    {plain(problem.remedy)}", style="dim", highlight=False)
        error_console.print(f"{len(error.problems)} problem{'s' if len(error.problems) > 1 else ''}")
        raise typer.Exit(exit_code(error) if worker else EXIT_USER) from error
    except UserError as error:
        error_console.print(f"[red]✗[/] {plain(error)}", highlight=False)
        raise typer.Exit(exit_code(error) if worker else EXIT_USER) from error
    except StreamflowError as error:
        error_console.print(f"[red]✗[/] {plain(error)}", highlight=False)
        raise typer.Exit(exit_code(error) if worker else EXIT_FAILED) from error


def print_json(body: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(body, indent=2, default=str))


def plain(cell: Any) -> str:
    """Text of a value without markup and control characters; its lines stay."""
    return escape("\n".join(printable(line) for line in str(cell).split("\n")))


def moment(time_ms: int | None) -> str:
    """UTC, to the second; nothing for None."""
    return "" if time_ms is None else datetime.fromtimestamp(time_ms / 1_000, UTC).isoformat(timespec="seconds")


def print_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table for people. Cells are data, which strangers may have written: no markup, nothing that moves a cursor."""
    table = Table(title=plain(title), title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    console.print(table)
