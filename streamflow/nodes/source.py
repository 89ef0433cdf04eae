"""source: reads a topic. The only kind without an input; the planner makes it an entry of a stage."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, StringConstraints

from streamflow.model.codec import RowCodec
from streamflow.model.durations import format_duration
from streamflow.nodes.kind import Category, DurationMs, Flow, Lowered, Lowering, NodeConfig, NodeKind, TopicName
from streamflow.nodes.operators import Pass

LevelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,29}$")]
Share = Annotated[int, Field(ge=2, le=1_000)]


class FarTime(NodeConfig):
    """What to do with event times that lie too far from when the record was written."""

    limit: DurationMs = Field(ge=0, description="how far is allowed")
    policy: Literal["dead_letter", "clamp", "accept"] = Field(
        "dead_letter", description="put the event aside, take the record's time instead, or let it be"
    )


class TimerConfig(NodeConfig):
    """Rows that the worker itself publishes into the topic, again and again; what polls stands behind them."""

    every: DurationMs = Field(ge=100, description="time between two events of a row")
    rows: list[dict[str, Any]] = Field(
        [{}],
        min_length=1,
        max_length=10_000,
        description="an event each, without its event time; spread evenly over `every`, one a millisecond at most",
    )
    missed: Literal["skip", "all"] = Field(
        "skip", description="of moments that nobody was there for only the last is made up for, or up to 1,000"
    )


class SourceConfig(NodeConfig):
    """Configuration of a source."""

    topic: TopicName = Field(description="Kafka topic to read")
    schema_name: str = Field(alias="schema", description="name of the schema of its events")
    key: str | None = Field(
        None, description="field that the topic is partitioned by; publishing takes the key from it"
    )
    event_time: str | None = Field(
        None, description="timestamp field that says when it happened; without it, the record's"
    )
    watermark_delay: DurationMs = Field(0, ge=0, description="how far events may be out of order before they are late")
    time: Literal["event", "processing"] = Field(
        "event", description="when it happened, or when the broker appended it"
    )
    future: FarTime = Field(FarTime(limit=3_600_000), description="event times ahead of their records")
    past: FarTime | None = Field(None, description="event times behind their records; all are taken when left out")
    idle_after: DurationMs = Field(
        10_000, ge=100, description="silence after which a partition no longer holds the others"
    )
    unknown_fields: Literal["ignore", "reject"] = Field("ignore", description="what to do with fields the schema lacks")
    execution_id: str | None = Field(
        None, description="field with the id of the execution that an event belongs to; null: of none"
    )
    execution_header: bool = Field(
        False, description="look for such an id in the header sf-correlation of every record, however they are batched"
    )
    partitions: int | None = Field(
        None, ge=1, le=10_000, description="partitions of the topic when it has to be created"
    )
    priorities: Mapping[LevelName, Share] = Field(
        default_factory=dict,
        max_length=8,
        description="levels of events that go first, each in a topic `<topic>.<level>`, with its share of the work "
        "while others wait too; ordinary events have 1",
    )

    timer: TimerConfig | None = Field(None, description="events that come at an interval, for polling")

    @property
    def level_topics(self) -> dict[str, str]:
        """Topics of the levels, by level."""
        return {level: f"{self.topic}.{level}" for level in self.priorities}


class Source(NodeKind):
    """Reads events of a schema from a topic."""

    kind = "source"
    display_name = "Source"
    description = "Reads events of a schema from a Kafka topic and follows their event time."
    category = Category.INTEGRATION
    tags = ("kafka", "input")
    config_type = SourceConfig
    example = {"topic": "readings", "schema": "Reading", "key": "sensor", "event_time": "time", "watermark_delay": "5s"}

    def lower(self, config: SourceConfig, lowering: Lowering) -> Lowered | None:
        """Check key and event time against the schema."""
        schema = lowering.input.schema
        key = lowering.expression(config.key, "key") if config.key is not None else None
        if key is not None and config.key not in schema.names:
            lowering.problem(
                f"the key of a source is one field, not {config.key!r}", "use key_by for expressions", "key"
            )
        if key is not None and key.type not in ("str", "int"):
            lowering.problem(f"a key is str or int, {config.key!r} is {key.type}", key="key")
        if config.event_time is not None:
            time = lowering.expression(config.event_time, "event_time")
            if time is not None and (time.type != "timestamp" or time.nullable):
                what = f"{config.event_time!r} is {time.type}{'?' if time.nullable else ''}"
                lowering.problem(f"event time must be a timestamp that is never null, {what}", key="event_time")
        field = None if config.execution_id is None else schema.field(config.execution_id)
        if config.execution_id is not None and (field is None or field.type not in ("str", "int")):
            what = "is no field" if field is None else f"is {field.type}"
            lowering.problem(f"an id is a field of str or int, {config.execution_id!r} {what}", key="execution_id")
        _check_time(config, lowering)
        if config.timer is not None:
            _check_timer(config, config.timer, lowering)
        return None if lowering.failed else Lowered(Pass(), Flow(schema, key, config.key))


def _check_time(config: SourceConfig, lowering: Lowering) -> None:
    if config.time == "processing":
        for key in ("event_time", "watermark_delay"):
            if getattr(config, key):
                lowering.problem("processing time is the broker's, it has none", f"remove {key}", key)
    for key in sorted({"future", "past"} & config.model_fields_set):
        if config.event_time is None:
            lowering.problem("only a field can be far from the record's time", f"remove {key}, or name event_time", key)
    if config.past is not None and config.past.limit < config.watermark_delay:
        lowering.problem(
            f"{format_duration(config.past.limit)} is less than watermark_delay", "raise it, or lower the delay", "past"
        )


def _check_timer(config: SourceConfig, timer: TimerConfig, lowering: Lowering) -> None:
    """Events of a timer are told from each other by row and event time."""
    if config.event_time is None:
        lowering.problem("the events of a timer need an event time", "name a timestamp field: event_time: at", "timer")
        return
    if len(timer.rows) > timer.every:  # who goes on knows a moment, and not how many of its rows are published
        message = f"{len(timer.rows)} rows come in {timer.every} ms"
        lowering.problem(message, f"make it {len(timer.rows)}ms or more", "timer.every")
    codec, seen = RowCodec(lowering.input.schema, reject_unknown=True), set[bytes]()
    for number, row in enumerate(timer.rows):
        place = f"timer.rows.{number}"
        try:
            value = orjson.dumps({**row, config.event_time: 0})
        except orjson.JSONEncodeError as refused:
            remedy = "names of members are texts, numbers have 64 bits"
            lowering.problem(f"no JSON can be made of it: {refused}", remedy, place)
            continue
        for _, error in codec.decode([value]).bad:
            lowering.problem(str(error), key=place)
        if config.event_time in row:
            lowering.problem(f"{config.event_time!r} is filled in", "leave it out", place)
        if config.key is not None and row.get(config.key) is None:
            lowering.problem(f"the key {config.key!r} is null", "give it a value", place)
        if value in seen:
            lowering.problem("this row is there already", "leave one out, or give rows a name", place)
        seen.add(value)
