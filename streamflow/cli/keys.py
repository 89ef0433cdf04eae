"""streamflow keys: API keys of the HTTP server. The file has digests only; a key is shown once, when it is made."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from streamflow.cli.show import AsJson, console, error_console, print_json, print_table, refusals
from streamflow.errors import UserError

keys = typer.Typer(help="API keys: make, list, replace, revoke.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", envvar="STREAMFLOW_API_KEYS_FILE", help="file of keys")]
_SPAN = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@keys.command()
def new(
    name: Annotated[str, typer.Argument(help="what it is for")],
    grant: Annotated[
        list[str],
        typer.Option(help="viewer, publisher, operator or admin; narrowed: viewer@topology=flights,table=hourly*"),
    ],
    file: File = Path("api-keys.json"),
    expires: Annotated[str, typer.Option(help="after such a time: 90d, 12h, 30m; `never`")] = "90d",
) -> None:
    """Make a key. It goes to standard output, and nowhere else."""
    from streamflow.web.api_keys import changing, new_key

    with refusals(), changing(file) as found:
        text, entry = new_key(name, tuple(grant), _until(expires))
        found.keys.append(entry)
    error_console.print(f"key {entry.id} for {entry.name!r}, expires {_moment(entry.expires)}", highlight=False)
    typer.echo(text)


@keys.command("list")
def list_keys(
    file: File = Path("api-keys.json"),
    as_json: AsJson = False,
) -> None:
    """Show the keys: whose, what for, until when."""
    from streamflow.web.api_keys import read_keys

    with refusals():
        found, now = read_keys(file).keys, datetime.now(UTC)
    if as_json:
        print_json([each.model_dump(mode="json", exclude={"sha256"}) | {"state": each.state(now)} for each in found])
        return
    rows = [[each.id, each.name, " ".join(each.grants), each.state(now), _moment(each.expires)] for each in found]
    print_table(str(file), ["id", "name", "grants", "state", "expires"], rows)


@keys.command()
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="the key to replace")],
    file: File = Path("api-keys.json"),
    overlap: Annotated[str, typer.Option(help="how long the old one is still good: 24h")] = "24h",
    expires: Annotated[str, typer.Option(help="when the new one expires")] = "90d",
) -> None:
    """Make a key with the same name and grants; the old one goes on for a while."""
    from streamflow.web.api_keys import changing, new_key

    with refusals(), changing(file) as found:
        place = _place([each.id for each in found.keys], key_id)
        old, now = found.keys[place], datetime.now(UTC)
        if old.state(now) != "valid":
            raise UserError(f"key {key_id} is {old.state(now)}: make another by `streamflow keys new`")
        until = _until(overlap) or now
        found.keys[place] = old.model_copy(update={"expires": min(until, old.expires or until)})
        text, entry = new_key(old.name, old.grants, _until(expires))
        found.keys.append(entry)
    error_console.print(
        f"key {entry.id} replaces {key_id}, which ends {_moment(found.keys[place].expires)}", highlight=False
    )
    typer.echo(text)


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="the key that is over")],
    file: File = Path("api-keys.json"),
) -> None:
    """End a key: workers refuse it within a second after they see the file."""
    from streamflow.web.api_keys import changing

    with refusals(), changing(file) as found:
        place = _place([each.id for each in found.keys], key_id)
        found.keys[place] = found.keys[place].model_copy(update={"revoked": datetime.now(UTC)})
    console.print(f"key {key_id} is revoked", highlight=False)


def _moment(at: datetime | None) -> str:
    return "never" if at is None else at.isoformat(timespec="seconds")


def _place(ids: list[str], key_id: str) -> int:
    if key_id not in ids:
        raise UserError(f"there is no key {key_id}: `streamflow keys list` shows them")
    return ids.index(key_id)


def _until(span: str) -> datetime | None:
    if span == "never":
        return None
    parts = _SPAN.fullmatch(span)
    if parts is None:
        raise UserError(f"{span!r} is no time: write 90d, 12h, 30m or never")
    return datetime.now(UTC) + timedelta(**{_UNITS[parts[2]]: int(parts[1])})
