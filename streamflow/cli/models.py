"""streamflow models: put a model into the registry, list what is there, show one."""

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from streamflow.cli.show import AsJson, console, print_json, print_table, refusals
from streamflow.errors import UserError
from streamflow.inference.card import (
    MODEL_NAME,
    REGISTRY_TOPIC,
    VERSION,
    InputType,
    ModelCard,
    ModelInput,
    Task,
    newest,
    version_order,
)
from streamflow.settings.settings import Settings, load_settings

models = typer.Typer(help="The registry of models that model nodes ask.", no_args_is_help=True)
Registry = Annotated[str, typer.Option(help="compacted topic of the registry")]
Brokers = Annotated[str | None, typer.Option(help="Kafka bootstrap servers; STREAMFLOW_BROKERS")]
Name = Annotated[str, typer.Argument(help="name of the model")]


@models.command()
def add(
    name: Name,
    file: Annotated[Path, typer.Argument(help="ONNX, skops or linear model, or of an adapter's format")],
    version: Annotated[
        str | None, typer.Option(help="a number such as 2 or 1.4.0; the next whole one when left out")
    ] = None,
    task: Annotated[Task | None, typer.Option(help="what it gives; else from the card")] = None,
    inputs: Annotated[str, typer.Option(help="name:number, name:text or name:list, separated by commas")] = "",
    card: Annotated[
        Path | None, typer.Option(help="JSON with task, inputs, labels, options, as its training wrote it")
    ] = None,
    labels: Annotated[str, typer.Option(help="names of classes, separated by commas")] = "",
    trust: Annotated[list[str] | None, typer.Option(help="a type that skops may load; may be repeated")] = None,
    kind: Annotated[str, typer.Option("--format", help="format of an adapter, where content does not tell")] = "",
    registry: Registry = REGISTRY_TOPIC,
    brokers: Brokers = None,
    as_json: AsJson = False,
) -> None:
    """Keep a model's file by its digest, load it once to see that it works, and write its card into the registry."""
    from streamflow.inference.content import format_of
    from streamflow.inference.files import files_of
    from streamflow.inference.models import load
    from streamflow.runtime.model_registry import add_card, read_cards

    with refusals():
        settings = load_settings(brokers=brokers)
        if not MODEL_NAME.fullmatch(name):
            raise UserError(f"{name!r} cannot be the name of a model: a small letter, then letters, digits, _ and -")
        facts = _facts(card, task, inputs, labels, trust or [])
        data = _content(file)
        if version is None:
            version = _next(asyncio.run(read_cards(settings, registry)), name)
        elif not VERSION.fullmatch(version):
            raise UserError(f"{version!r} is no version: write a number such as 2 or 1.4.0")
        found = kind or format_of(data)
        if not found:
            raise UserError(f"{file} is no ONNX, skops or linear model; name its adapter with --format")
        files = files_of(settings.models_dir, settings.models_url, settings.models_dir_max_bytes)
        digest = files.add(data)
        uri = files.place(digest) if settings.models_url else file.resolve().as_uri()
        made = ModelCard(
            name, version, found, digest=digest, size_bytes=len(data), uri=uri,
            added=int(time.time() * 1_000), **facts,
        )  # fmt: skip
        loaded = load(made, files)
        asyncio.run(add_card(settings, registry, made))
        if as_json:
            print_json(msgspec.to_builtins(made))
            return
        console.print(
            f"[green]✓[/] {made.id}: {made.task}, {found}, {len(data):,} bytes, loads in {loaded.load_s:.2f} s"
        )
        else_there = "" if settings.models_url else ", or at its URI"
        console.print(f"file {files.place(digest)}; workers need it there{else_there}", highlight=False)


def _facts(card: Path | None, task: Task | None, inputs: str, labels: str, trust: list[str]) -> dict[str, Any]:
    """What the card says, and what the options say over it."""
    facts: dict[str, Any] = {}
    if card is not None:
        try:
            given = json.loads(_content(card))
            facts = {name: given[name] for name in ("task", "inputs", "labels", "options") if name in given}
            kinds = {
                "task": Task,
                "inputs": tuple[ModelInput, ...],
                "labels": tuple[str, ...],
                "options": dict[str, Any],
            }
            facts = {name: msgspec.convert(value, kinds[name]) for name, value in facts.items()}
        except (ValueError, TypeError, msgspec.ValidationError) as error:
            raise UserError(f"{card} is no card: {error}") from error
    if task is not None:
        facts["task"] = task
    if inputs:
        facts["inputs"] = tuple(_input(each.strip()) for each in inputs.split(","))
    if labels:
        facts["labels"] = tuple(each.strip() for each in labels.split(","))
    if trust:
        facts["options"] = {**facts.get("options", {}), "trusted": trust}
    for needed in ("task", "inputs"):
        if needed not in facts:
            raise UserError(
                f"what the model {'does' if needed == 'task' else 'takes'} is not known: add --{needed}, or --card"
            )
    return facts


def _input(text: str) -> ModelInput:
    name, _, kind = text.partition(":")
    if not name or kind not in set(InputType):
        raise UserError(f"{text!r} is no input: write name:number, name:text or name:list")
    return ModelInput(name, InputType(kind))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def _next(cards: list[ModelCard], name: str) -> str:
    last = newest(card.version for card in cards if card.name == name)
    return str(version_order(last)[0] + 1) if last else "1"


@models.command("list")
def list_models(registry: Registry = REGISTRY_TOPIC, brokers: Brokers = None, as_json: AsJson = False) -> None:
    """List every version of every model."""
    with refusals():
        cards = _cards(load_settings(brokers=brokers), registry)
        if as_json:
            print_json({"models": [msgspec.to_builtins(card) for card in cards]})
            return
        rows = [[card.name, card.version, card.task, card.format, card.size_bytes, card.digest[:12]] for card in cards]
        print_table(registry, ["model", "version", "task", "format", "bytes", "digest"], rows)


@models.command()
def show(
    model: Annotated[str, typer.Argument(help="name, or name@version; the newest when left out")],
    registry: Registry = REGISTRY_TOPIC,
    brokers: Brokers = None,
    as_json: AsJson = False,
) -> None:
    """Show the card of a version."""
    with refusals():
        name, _, version = model.partition("@")
        cards = {card.version: card for card in _cards(load_settings(brokers=brokers), registry) if card.name == name}
        found = cards.get(version or newest(cards) or "")
        if found is None:
            known = f"versions are {', '.join(cards)}" if cards else "add it with `streamflow models add`"
            raise UserError(f"no model {model!r} in {registry}; {known}")
        if as_json:
            print_json(msgspec.to_builtins(found))
            return
        console.print(f"[bold]{found.id}[/] {found.task}, {found.format}, {found.size_bytes:,} bytes", highlight=False)
        console.print(
            f"digest {found.digest}\nuri {found.uri}\nlabels {', '.join(found.labels) or '-'}", highlight=False
        )
        rows = [[each.name, each.type, "yes" if each.shares else ""] for each in found.inputs]
        print_table("inputs", ["input", "type", "drift is measured"], rows)


def _cards(settings: Settings, registry: str) -> list[ModelCard]:
    from streamflow.runtime.model_registry import read_cards

    found = asyncio.run(read_cards(settings, registry))
    return sorted(found, key=lambda card: (card.name, version_order(card.version)))
