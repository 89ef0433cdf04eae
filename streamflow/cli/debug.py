"""streamflow debug: a topology step by step, in this process, with given events or with some of Kafka's."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamflow.checkpoint.progress import END_OF_TIME
from streamflow.cli.show import AsJson, console, plain, refusals
from streamflow.errors import UserError
from streamflow.nodes.operators import Await, Score
from streamflow.plan.plan import Entry, EntryKind, Plan
from streamflow.plan.planner import make_plan
from streamflow.settings.settings import Settings, load_settings

if TYPE_CHECKING:
    from streamflow.testing.debugger import Debugger, Step, Told

#: (topic, event, when it was written in ms).
Event = tuple[str, bytes, int]
_COMMANDS = "step (Enter), event, continue, table NAME, quit"


class _Quit(BaseException):
    """The person has seen enough. No Exception: the topology must not take it for a fault of the row."""


def debug(
    topology: Annotated[Path, typer.Argument(help="folder or file of the topology")],
    events: Annotated[
        Path | None, typer.Option(help='JSON lines: events of the one source, or {"topic", "event"}')
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="instead: events of Kafka from earliest, or an ISO 8601 time; read only"),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="events at most")] = 1_000,
    stops: Annotated[
        list[str] | None, typer.Option("--break", help="stop before NODE, or 'NODE: EXPRESSION'; as often as needed")
    ] = None,
    step: Annotated[bool, typer.Option("--step", help="stop before every node")] = False,
    end: Annotated[bool, typer.Option("--end", help="close all windows behind the last event")] = False,
    calls: Annotated[bool, typer.Option("--calls", help="let async nodes call what workers may")] = False,
    brokers: Annotated[str | None, typer.Option(help="Kafka bootstrap servers; STREAMFLOW_BROKERS")] = None,
    as_json: AsJson = False,
) -> None:
    """Work events through a topology one by one; show what came to each node, what left, and what state changed.

    State begins empty and everything stays in this process: nothing is written to Kafka, files or databases.
    """
    from streamflow.testing.breakpoints import breakpoint_of
    from streamflow.testing.debugger import Debugger
    from streamflow.topology.load import load_topology

    with refusals():
        if (events is None) == (start is None):
            raise UserError("say where the events are: --events FILE, or --from PLACE for those of Kafka")
        if as_json and (step or stops):
            raise UserError("--json is for programs, --step and --break are for people: leave one out")
        plan, settings = make_plan(load_topology(topology)), load_settings(brokers=brokers)
        tests = [breakpoint_of(plan, each) for each in stops or ()]
        person = _Person(tests, step=step)
        debugger = Debugger(plan, person.on_step, **_reach(plan, settings, calls))
        person.debugger = debugger
        if not (calls or as_json) and _calls_services(plan):
            console.print("services are not called: all their rows fail (--calls lets them be called)", style="yellow")
        if events is not None:
            _load(debugger, settings, _registries(plan))
            given = _of_file(plan, events)
        else:
            given = _of_kafka(debugger, plan, settings, start or "", count)
        try:
            for number, (topic, event, written_ms) in enumerate(given):
                if number == count:
                    break
                _show(debugger.feed(topic, event, written_ms), as_json)
            if end:
                _show(debugger.end(), as_json)
        except _Quit:
            return
        finally:
            debugger.close()


def _calls_services(plan: Plan) -> bool:
    from streamflow.calls.http import HttpAction

    operators = [node.operator for stage in plan.stages for node in stage.nodes]
    return any(isinstance(each, Await) and isinstance(each.action, HttpAction) for each in operators)


def _reach(plan: Plan, settings: Settings, calls: bool) -> dict[str, Any]:
    """What of the outside the topology has."""
    found: dict[str, Any] = {}
    if calls:
        from streamflow.runtime.outside import outside_of

        found["outside"] = outside_of(settings)
    if any(isinstance(node.operator, Score) for stage in plan.stages for node in stage.nodes):
        from streamflow.inference.files import ModelFiles
        from streamflow.inference.models import Models

        found["models"] = Models(ModelFiles(settings.models_dir), settings.models_max_bytes)
    return found


class _Person:
    """Whoever sits in front of it: decides at each step whether to stop, and says how to go on."""

    def __init__(self, stops: "list[Callable[[Step], bool]]", *, step: bool) -> None:
        self.debugger: Debugger | None = None
        self._stops, self._each_step = stops, step
        self._until_event: int | None = None

    def on_step(self, step: "Step") -> None:
        """Stop here, or not."""
        is_event = self._until_event is not None and step.event != self._until_event
        if not (self._each_step or is_event or any(test(step) for test in self._stops)):
            return
        self._each_step, self._until_event = False, None
        console.print(_line(step), highlight=False, markup=False, soft_wrap=True)
        while not self._goes_on(step):
            pass

    def _goes_on(self, step: "Step") -> bool:
        try:
            words = input("(debug) ").split()
        except EOFError:
            self._stops = []
            return True
        match words:
            case [] | ["s" | "step"]:
                self._each_step = True
            case ["e" | "event"]:
                self._until_event = step.event
            case ["c" | "continue"]:
                pass
            case ["q" | "quit"]:
                raise _Quit
            case ["t" | "table", name]:
                self._show_table(name)
                return False
            case _:
                console.print(f"commands: {_COMMANDS}", highlight=False)
                return False
        return True

    def _show_table(self, name: str) -> None:
        assert self.debugger is not None
        try:
            rows = self.debugger.table(name)
        except KeyError:
            console.print(f"there is no table {plain(name)}", highlight=False)
            return
        for key, row in rows.items():
            console.print(f"  {key}: {_text(row)}", highlight=False, markup=False, soft_wrap=True)


def _of_file(plan: Plan, path: Path) -> Iterator[Event]:
    """Events of a file. Raises UserError with the line that cannot be one."""
    topics, sources = _inputs(plan), _sources(plan)
    try:
        lines = sys.stdin.buffer.read().splitlines() if str(path) == "-" else path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            body = json.loads(line)
        except ValueError:
            body = None
        if isinstance(body, dict) and {"topic", "event"} == set(body):
            if body["topic"] not in topics:
                raise UserError(f"{path}, line {number}: no topic {body['topic']!r}; there are {', '.join(topics)}")
            yield body["topic"], json.dumps(body["event"]).encode(), int(time.time() * 1_000)
        elif len(sources) == 1:
            yield sources[0], line, int(time.time() * 1_000)
        else:
            raise UserError(
                f'{path}, line {number}: write {{"topic": …, "event": {{…}}}}; topics are {", ".join(topics)}'
            )


def _inputs(plan: Plan) -> list[str]:
    """Topics that events come from, those of global tables too."""
    sources = dict.fromkeys(entry.topic for entry in _entries(plan))
    return [*sources, *(table.topic for table in plan.global_tables)]


def _sources(plan: Plan) -> list[str]:
    """Topics of sources, without those of their levels."""
    return list(dict.fromkeys(entry.topic for entry in _entries(plan) if not entry.level))


def _entries(plan: Plan) -> list[Entry]:
    return [each for stage in plan.stages for each in stage.entries if each.kind is EntryKind.SOURCE]


def _of_kafka(debugger: "Debugger", plan: Plan, settings: Settings, start: str, count: int) -> Iterator[Event]:
    """The first events of all sources from a place on, as they were written; global tables are there as of now."""
    from streamflow.runtime.shadow import read_events

    _load(debugger, settings, [table.topic for table in plan.global_tables])
    return iter(asyncio.run(read_events(settings, _sources(plan), start, count)))


def _registries(plan: Plan) -> list[str]:
    """Topics of the models that nodes ask: nobody writes cards by hand."""
    operators = [node.operator for stage in plan.stages for node in stage.nodes]
    return sorted({each.registry for each in operators if isinstance(each, Score)})


def _load(debugger: "Debugger", settings: Settings, topics: list[str]) -> None:
    from streamflow.runtime.shadow import read_rows

    for topic in topics:
        debugger.load(topic, asyncio.run(read_rows(settings, topic)))


def _show(told: "Told", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(told), default=str))
        return
    head = "end of data" if told.event == 0 else f"event {told.event}: {told.topic} {_text(told.value)}"
    lines = [head, *(f"  {_line(step)}" for step in told.steps)]
    for each in told.outputs:
        why = f" {each['reason']}: {each.get('error', '')}" if "reason" in each else ""
        lines.append(f"  wrote {each['topic']}{why} key {each['key']} {_text(each['row'])}")
    lines += [f"  late at {node}: {late_count}" for node, late_count in told.late.items()]
    for each in told.state:
        lines.append(f"  table {each['table']} {each['key']}: {_text(each['before'])} → {_text(each['after'])}")
    lines.append("  watermarks " + ", ".join(f"{stage} {_moment(ms)}" for stage, ms in told.watermarks.items()))
    console.print("\n".join(plain(line) for line in lines), highlight=False, soft_wrap=True)


def _line(step: "Step") -> str:
    return f"{step.before} → {step.node} ({step.kind}) at {_moment(step.watermark_ms)}: {_text(step.row)}"


def _text(value: Any) -> str:
    return "–" if value is None else json.dumps(value, default=str, ensure_ascii=False)


def _moment(time_ms: int | None) -> str:
    if time_ms is None or time_ms >= END_OF_TIME:
        return "–" if time_ms is None else "the end"
    return datetime.fromtimestamp(time_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
