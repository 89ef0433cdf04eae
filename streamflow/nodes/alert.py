"""alert: raises an alert per key when a field is beyond a limit for some time, or no row comes, and clears it."""

from pydantic import Field as Option

from streamflow.kit.declaration import Declaration
from streamflow.kit.process import states_of
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.model.severity import AlertSeverity
from streamflow.nodes.kind import (
    Category,
    DurationMs,
    Flow,
    Lowered,
    Lowering,
    NodeConfig,
    NodeKind,
    TableName,
    TableShape,
)
from streamflow.nodes.operators import Process
from streamflow.nodes.running import row_class
from streamflow.nodes.watching import Watch

_FIELDS = (
    Field("alert", FieldType.STR),
    Field("state", FieldType.STR),
    Field("severity", FieldType.STR),
    Field("value", FieldType.FLOAT, True),
    Field("threshold", FieldType.FLOAT, True),
    Field("since", FieldType.TIMESTAMP),
    Field("at", FieldType.TIMESTAMP),
)


class AlertConfig(NodeConfig):
    """Configuration of an alert."""

    field: str | None = Option(None, description="numeric field to judge, with `above` or `below`")
    above: int | float | None = Option(None, allow_inf_nan=False, description="limit that it must not exceed")
    below: int | float | None = Option(None, allow_inf_nan=False, description="limit that it must not fall below")
    silent: DurationMs | None = Option(None, ge=1, description="instead: event time without a row of the key")
    for_: DurationMs = Option(0, alias="for", description="event time that it must last")
    severity: AlertSeverity | None = Option(
        None, description="fixed; by the ratio of value and limit when left out, critical for `silent`"
    )
    warning: float = Option(1.2, ge=1, allow_inf_nan=False, description="ratio above which it is a warning")
    critical: float = Option(1.5, ge=1, allow_inf_nan=False, description="ratio above which it is critical")
    route: str = Option("default", max_length=64, description="route of the notifications, see docs/alerts.md")
    summary: str = Option("", max_length=500, description="what to tell people")
    table: TableName | None = Option(None, description="name of the table of what is open; the node's when left out")


class Alert(NodeKind):
    """Gives a row when an alert of a key is raised, becomes more severe, or is cleared; and says so on the event bus.

    One breach is one alert, however many rows are beyond the limit. Rows are judged in the order of their arrival, and
    `for` and `silent` are event time. Rows and events are in the task's transaction: exactly once, also after a crash.
    """

    kind = "alert"
    display_name = "Alert"
    description = "Raises and clears an alert per key, exactly once, with a duration in event time."
    category = Category.MONITORING
    tags = ("stateful", "alerts")
    config_type = AlertConfig
    example = {"field": "value", "above": 30.0, "for": "10s"}
    stateful = True

    def lower(self, config: AlertConfig, lowering: Lowering) -> Lowered | None:
        """Check what belongs together."""
        before, name = lowering.input, lowering.input.key_name or "key"
        limits = (config.above is not None) + (config.below is not None)
        if config.silent is not None:
            if config.field is not None or limits or config.for_:
                lowering.problem("silent stands alone: there is no value to judge", "leave the others out", "silent")
            if before.key is None:
                lowering.problem("rows have no key here", "put a key_by before it, or declare the source's key")
        elif config.field is None or limits != 1:
            lowering.problem("what to judge is missing", "give `field` and one of `above` and `below`, or `silent`")
        else:
            lowering.numeric_of_key(config.field)
        if name in {field.name for field in _FIELDS}:
            lowering.problem(f"the key is called {name!r}, as a field of alerts is", "rename it before")
        if lowering.failed or before.key is None:
            return None
        output = Schema(f"{lowering.name.title().replace('_', '')}Alerts", (Field(name, before.key.type), *_FIELDS))
        given, table = row_class(output), config.table or lowering.name
        options = config.model_dump() | {"told": {"route": config.route, "summary": config.summary}}
        arguments = {
            "name": lowering.name,
            "field": config.field,
            "given": given,
            "key_name": name,
            "options": options,
        }
        shown = [Field(state.name, FieldType.JSON, True) for state in states_of(Watch) if state.name != name]
        rows = Schema(f"{output.name}Open", (Field(name, before.key.type), *shown))
        operator = Process(Declaration(Watch, None, given), tuple(arguments.items()), table)
        flow = Flow(output, before.key, before.key_name, before.repeats)
        return Lowered(operator, flow, TableShape(table, row_schema=rows))
