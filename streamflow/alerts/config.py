"""The alerts file: rules, notifiers and routes, read and checked at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from streamflow.alerts.notifiers import NOTIFIERS, Notifier
from streamflow.alerts.routing import Route
from streamflow.alerts.rules import BUILT_IN, Rule, parse_rules
from streamflow.errors import Problem, TopologyError
from streamflow.model.names import node_problem
from streamflow.topology.config_problems import problems_of
from streamflow.topology.yaml_file import parse_document, read_text

#: Notifiers of one file, and routes.
NOTIFIERS_MAX = 50


@dataclass(frozen=True, slots=True)
class AlertsConfig:
    """What a file says, over what is built in. rules: of both, by name; of_file: names of those of the file."""

    rules: Mapping[str, Rule]
    notifiers: Mapping[str, Notifier] = field(default_factory=lambda: MappingProxyType({}))
    routes: Mapping[str, Route] = field(default_factory=lambda: MappingProxyType({}))
    of_file: frozenset[str] = frozenset()

    def with_rules(self, given: Mapping[str, Any]) -> dict[str, Rule]:
        """Rules in force when these were given over HTTP, which were checked then; what does not fit any more is left
        out."""
        return {**self.rules, **parse_rules(given)[0]}


def load_alerts(path: Path | None) -> AlertsConfig:
    """The file's; what is built in without one. Raises TopologyError with every problem and its line."""
    if path is None:
        return AlertsConfig(parse_rules(BUILT_IN)[0])
    return parse_document(read_text(path), str(path), _config_of)


def _config_of(document: Any) -> AlertsConfig:
    if not isinstance(document, Mapping):
        raise TopologyError((Problem("alerts", "is no mapping", "write rules, notifiers and routes"),))
    known = ("rules", "notifiers", "routes")
    problems = [
        Problem(str(name), "unknown key", f"there are {', '.join(known)}") for name in document if name not in known
    ]
    rules, found = parse_rules(document.get("rules") or {})
    problems += found
    notifiers = _notifiers(document.get("notifiers") or {}, problems)
    routes = _routes(document.get("routes") or {}, notifiers, problems)
    for name, rule in rules.items():
        if rule.route not in routes and rule.route != "default":
            problems.append(Problem(f"rules.{name}.route", f"there is no route {rule.route!r}", "declare it in routes"))
    if problems:
        raise TopologyError(tuple(problems))
    return AlertsConfig({**parse_rules(BUILT_IN)[0], **rules}, notifiers, routes, frozenset(rules))


def _notifiers(found: Any, problems: list[Problem]) -> dict[str, Notifier]:
    made: dict[str, Notifier] = {}
    for name, given in _entries(found, "notifiers", problems):
        place = f"notifiers.{name}"
        model = NOTIFIERS.get(str(given.get("kind")))
        if model is None:
            problems.append(Problem(place, f"unknown kind {given.get('kind')!r}", f"one of {', '.join(NOTIFIERS)}"))
            continue
        try:
            made[name] = model.model_validate(given)
        except ValidationError as error:
            problems += problems_of(error, place, model)
    return made


def _routes(found: Any, notifiers: Mapping[str, Notifier], problems: list[Problem]) -> dict[str, Route]:
    made: dict[str, Route] = {}
    for name, given in _entries(found, "routes", problems):
        try:
            made[name] = route = Route.model_validate(given)
        except ValidationError as error:
            problems += problems_of(error, f"routes.{name}", Route)
            continue
        for number, tier in enumerate(route.tiers):
            for each in tier.to:
                if each not in notifiers:
                    place = f"routes.{name}.tiers.{number}.to"
                    problems.append(Problem(place, f"there is no notifier {each!r}", "declare it in notifiers"))
    return made


def _entries(found: Any, place: str, problems: list[Problem]) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(found, Mapping) or len(found) > NOTIFIERS_MAX:
        problems.append(Problem(place, f"must be a mapping with at most {NOTIFIERS_MAX} names"))
        return []
    entries = []
    for name, given in found.items():
        problem = node_problem(name) if isinstance(name, str) else "the name is no text"
        if problem is not None:
            problems.append(Problem(f"{place}.{name}", problem))
        elif not isinstance(given, Mapping):
            problems.append(Problem(f"{place}.{name}", "must be a mapping"))
        else:
            entries.append((name, dict(given)))
    return entries
