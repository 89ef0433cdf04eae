"""streamflow alerts: what is wrong, who takes care of it, who is told, and the rules."""

import getpass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from streamflow.cli.client import URL, Url, ask, post, request
from streamflow.cli.connect import connect
from streamflow.cli.show import AsJson, console, moment, plain, print_json, print_table, refusals

alerts = typer.Typer(help="Alerts, silences and rules.", no_args_is_help=True)

Actor = Annotated[str | None, typer.Option(help="who says it; your user name when left out")]
Comment = Annotated[str, typer.Option(help="why, for everybody who looks")]


@alerts.command("list")
def list_(
    state: Annotated[str, typer.Option(help="open, cleared or all")] = "open",
    severity: Annotated[str | None, typer.Option(help="info, warning or critical")] = None,
    topology: Annotated[str | None, typer.Option(help="of this topology")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 50,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Show alerts, the newest first."""
    given = {"state": state, "severity": severity, "topology": topology, "limit": limit}
    with refusals(), connect(url) as client:
        answer = ask(client, "/v1/alerts", {name: str(value) for name, value in given.items() if value is not None})
    if as_json:
        print_json(answer)
        return
    rows = [
        [
            each["alert"],
            each["severity"],
            each["topology"],
            ", ".join(f"{name}={value}" for name, value in each["labels"].items()),
            "" if each["value"] is None else f"{each['value']:g}",
            moment(each["since"]),
            moment(each["cleared"]),
            "silenced" if each["silenced"] else each["by"],
        ]
        for each in answer["alerts"]
    ]
    print_table("alerts", ["alert", "severity", "topology", "labels", "value", "since", "cleared", "seen by"], rows)
    if answer["total"] > len(rows):
        console.print(f"{answer['total'] - len(rows)} more: raise --limit")


@alerts.command()
def show(alert: Annotated[str, typer.Argument(help="its id")], url: Url = URL) -> None:
    """Show everything about an alert as JSON: its states, and who was told of which."""
    with refusals(), connect(url) as client:
        print_json(ask(client, f"/v1/alerts/{quote(alert, safe='')}", {}))


@alerts.command()
def ack(
    alert: Annotated[str, typer.Argument(help="its id")],
    actor: Actor = None,
    comment: Comment = "",
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Take care of an alert: nobody else is told of it."""
    with refusals(), connect(url) as client:
        status, answer = post(client, f"/v1/alerts/{quote(alert, safe='')}/acknowledge", {}, _body(actor, comment))
    _said(status, answer, f"{plain(alert)} is yours", as_json=as_json)


@alerts.command()
def clear(
    alert: Annotated[str, typer.Argument(help="its id")],
    actor: Actor = None,
    comment: Comment = "",
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """End an alert by hand, such as one of a topology that is gone."""
    with refusals(), connect(url) as client:
        status, answer = post(client, f"/v1/alerts/{quote(alert, safe='')}/clear", {}, _body(actor, comment))
    _said(status, answer, f"{plain(alert)} is over", as_json=as_json)


@alerts.command()
def silence(
    rule: Annotated[str, typer.Argument(help="pattern of rules and alert nodes, such as lag*")],
    duration: Annotated[str, typer.Option("--for", help="how long, such as 2h")] = "1h",
    label: Annotated[list[str] | None, typer.Option(help="name=value that an alert must have")] = None,
    actor: Actor = None,
    comment: Comment = "",
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Tell nobody of alerts that match, for a time."""
    labels = dict(each.partition("=")[::2] for each in label or [])
    body = {**_body(actor, comment), "rule": rule, "for": duration, "labels": labels}
    with refusals(), connect(url) as client:
        status, answer = post(client, "/v1/alerts/silences", {}, body)
    said = f"silence {answer['silence']} until {moment(answer['until'])}"
    _said(status, answer, said, as_json=as_json)


@alerts.command()
def silences(url: Url = URL, as_json: AsJson = False) -> None:
    """Show silences that hold."""
    with refusals(), connect(url) as client:
        answer = ask(client, "/v1/alerts/silences", {})
    if as_json:
        print_json(answer)
        return
    rows = [
        [each["silence"], each["rule"], each["labels"] or "", moment(each["until"]), each["by"], each["comment"]]
        for each in answer["silences"]
    ]
    print_table("silences", ["silence", "rule", "labels", "until", "by", "comment"], rows)


@alerts.command()
def lift(silence: Annotated[str, typer.Argument(help="its id")], url: Url = URL) -> None:
    """Take a silence back."""
    with refusals(), connect(url) as client:
        request(client, "DELETE", f"/v1/alerts/silences/{quote(silence, safe='')}")
    console.print("it ends")


@alerts.command()
def rules(
    file: Annotated[
        Path | None, typer.Argument(help="YAML file with `rules` to give; shows them when left out")
    ] = None,
    actor: Actor = None,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Show the rules in force, or give rules: they replace all that were given this way before."""
    from streamflow.topology.yaml_file import parse_document, read_text

    with refusals(), connect(url) as client:
        if file is None:
            answer = ask(client, "/v1/alerts/rules", {})
        else:
            document = parse_document(read_text(file), str(file), lambda value: value)
            given = document.get("rules", {}) if isinstance(document, dict) else {}
            body = {"actor": _actor(actor), "rules": given}
            _, answer = request(client, "PUT", "/v1/alerts/rules", body=body)
    if as_json:
        print_json(answer)
        return
    rows = [
        [name, each["origin"], each["kind"], each.get("metric") or f"{each['bad']} / {each['total']}", each["enabled"]]
        for name, each in answer["rules"].items()
    ]
    print_table("rules", ["rule", "from", "kind", "metric", "enabled"], rows)


@alerts.command()
def report(
    window: Annotated[str, typer.Option(help="how far back, 1h at most")] = "30m",
    topology: Annotated[str | None, typer.Option(help="of this topology")] = None,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Show how the workers have been doing, what alerts there were, and what to do."""
    given = {"window": window, **({} if topology is None else {"topology": topology})}
    with refusals(), connect(url) as client:
        answer = ask(client, "/v1/performance/report", given)
    if as_json:
        print_json(answer)
        return
    names = ["avg", "min", "max", "current", "trend"]
    rows = [
        [metric, *(f"{each[name]:.4g}" if isinstance(each[name], float) else each[name] for name in names)]
        for metric, each in answer["performance_summary"].items()
    ]
    print_table(f"the last {window}, monitoring is {answer['monitoring_status']}", ["metric", *names], rows)
    counts = answer["alert_summary"]
    console.print(f"{counts['total_alerts']} alerts, {counts['critical_alerts']} of them critical")
    for each in answer["recommendations"]:
        console.print(plain(each["advice"]), highlight=False)


def _said(status: int, answer: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        console.print(plain(text if status == 200 else f"{text}, as soon as it has taken effect"), highlight=False)


def _body(actor: str | None, comment: str) -> dict[str, Any]:
    return {"actor": _actor(actor), "comment": comment}


def _actor(actor: str | None) -> str:
    return getpass.getuser() if actor is None else actor
