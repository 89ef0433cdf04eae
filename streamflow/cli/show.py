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

#: Columns that running text has at least, and that a table has where nobody looks at a screen.
_TEXT_LEAST = 12
_WIDE = 10_000

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


def text(value: Any) -> str:
    """A value for people: nothing for None, JSON on one line for what has parts."""
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list | tuple) else str(value)


def print_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table for people. Cells are data, which strangers may have written: no markup, nothing that moves a cursor.

    Nothing is left out: what finds no room goes on below, words that are ids or moments last of all; into a file or a
    pipe the table is as wide as it needs.
    """
    if not rows:
        console.print(f"{plain(title)}: none", highlight=False)
        return
    cells = [[plain(text(cell)) for cell in row] for row in rows]
    by_column = [[column, *(row[number] for row in cells)] for number, column in enumerate(columns)]
    are_words = [not any(set(cell) & {" ", "\n"} for cell in column[1:]) for column in by_column]
    widths = [max(map(len, column)) for column in by_column]
    least = sum(3 + (width if is_word else _TEXT_LEAST) for width, is_word in zip(widths, are_words, strict=True))
    table = Table(title=plain(title), title_justify="left")
    for column, is_word in zip(columns, are_words, strict=True):
        table.add_column(column, overflow="fold", no_wrap=is_word and least < console.width)
    for row in cells:
        table.add_row(*row)
    if console.is_terminal:
        console.print(table)
    else:
        Console(width=_WIDE).print(table)
